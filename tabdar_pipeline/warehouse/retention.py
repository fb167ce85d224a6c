"""Retiring releases: the rows go, the record and its manifest stay; never the release that is served or promoted."""

from collections.abc import Sequence
from datetime import UTC, datetime

from tabdar_pipeline.errors import SourceError, UsageError
from tabdar_pipeline.warehouse.copies import put_away
from tabdar_pipeline.warehouse.duckdb import Connection, Warehouse
from tabdar_pipeline.warehouse.promotion import promoted, refuse_promoted
from tabdar_pipeline.warehouse.releases import Release, one_of, recorded, tables_of


def retire(warehouse: Warehouse, target: str, number: int) -> Release:
    """Drop one release's rows, in one transaction, and then its copy; raises SourceError where it is in use."""

    def drop(connection: Connection) -> Release:
        release = one_of(recorded(connection, target), target, number)
        if release.served:
            raise SourceError(
                f"release {release.identifier!r} must not be served to be retired, however it is. "
                "Serve another first: tabdar release rollback."
            )
        refuse_promoted(connection, release)
        _drop(connection, release)
        return one_of(recorded(connection, target), target, number)

    retired = warehouse.transact(drop)
    _remove_copies([retired])
    return retired


def retain(warehouse: Warehouse, target: str, keep: int) -> list[Release]:
    """Retire all but the newest `keep` releases (of each partition) and those that are served or promoted; which were retired.

    A copy that an earlier retirement was cut off from removing goes, too.
    """
    if keep < 1:
        raise UsageError(f"releases to keep must be 1 or more, however: {keep}. Correct it.")

    def drop(connection: Connection) -> list[Release]:
        kept = [release for release in recorded(connection, target) if not release.retired]
        approved = promoted(connection, kept[0].target) if kept else {}
        old = [it for part in {it.partition for it in kept} for it in _of(kept, part)[keep:]]
        surplus = [it for it in old if not it.served and it.number not in approved]
        for release in surplus:
            _drop(connection, release)
        return surplus

    surplus = warehouse.transact(drop)
    with warehouse.connect(read_only=True) as connection:
        _remove_copies([release for release in recorded(connection, target) if release.retired])
    return surplus


def _of(found: Sequence[Release], partition: str | None) -> list[Release]:
    return [it for it in found if it.partition == partition]


def _drop(connection: Connection, release: Release) -> None:
    """Drop its table and companions, and record when; dropped already, it stays as it is."""
    if release.retired:
        return
    for table in tables_of(release):
        connection.execute(f"DROP TABLE IF EXISTS {table.sql}")
    connection.execute(
        "UPDATE tabdar.releases SET retired = ? WHERE target = ? AND number = ?",
        [datetime.now(UTC).replace(tzinfo=None), release.target, release.number],
    )


def _remove_copies(retired: Sequence[Release]) -> None:
    """Of those that have one."""
    for release in retired:
        if release.copy is not None and release.copy.parent.exists():
            put_away(release.copy.parent)
