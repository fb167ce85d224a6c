"""Publish rows as a release: an immutable table, the view that serves it, a record; one transaction.

    <schema>.<table>__r0001    the rows of a release, in the types of the source
    <schema>.<table>           a view of the release that is served, or of that of each partition
    tabdar.releases            one row a release, with its manifest; retention.py retires the old

The number is taken inside the transaction, so a crash at any instant leaves the previous release
served and nothing else. Where a folder is named, copies.py says what is written there and when.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa

from tabdar_pipeline.errors import ReleaseRefused, SourceError, StorageError, UsageError
from tabdar_pipeline.warehouse.clashes import clash_of
from tabdar_pipeline.warehouse.contents import Contents
from tabdar_pipeline.warehouse.copies import copy_path, discard, settle, stage
from tabdar_pipeline.warehouse.duckdb import Connection, Warehouse, refuse_read_only
from tabdar_pipeline.warehouse.names import Relation, identifier, literal
from tabdar_pipeline.warehouse.releases import (
    Release,
    find,
    kind,
    manifest_text,
    record,
    recorded,
    releases,
    text_hash,
)
from tabdar_pipeline.warehouse.releases import companions as companions_of
from tabdar_pipeline.warehouse.serving import rollback, serving, withdraw
from tabdar_pipeline.warehouse.tables import create, fill, refuse_unknown_types
from tabdar_pipeline.warehouse.verification import Verification, verify

__all__ = [
    "Companion",
    "Partition",
    "Release",
    "Verification",
    "find",
    "publish",
    "refuse_unservable",
    "releases",
    "rollback",
    "serving",
    "verify",
    "withdraw",
]


@dataclass(frozen=True, slots=True)
class Companion:
    """A table that is published with a release, and served beside it."""

    rows: Path | pa.Table
    sql_types: Mapping[str, str]
    comments: Mapping[str, str] = field(default_factory=dict)  # by column


@dataclass(frozen=True, slots=True)
class Partition:
    """The part of a source that a release stands for."""

    key: str  # "north", "2024-01-01"
    by: str  # how the source is parted: "region", "joined by month"
    keys: tuple[str, ...] = ()  # columns in which no other partition may have the same value


_ONE_AT_A_TIME = Lock()  # within a process; between processes DuckDB's lock on the file does it


def publish(
    warehouse: Warehouse,
    target: str,
    rows: Path | pa.Table,
    sql_types: Mapping[str, str],
    manifest: Mapping[str, Any],
    folder: Path | None = None,
    comments: Mapping[str, str] | None = None,
    companions: Mapping[str, Companion] | None = None,
    partition: Partition | None = None,
) -> Release:
    """Publish rows (a parquet file or an Arrow table) as the next release of `target`; whole, or not at all.

    A companion of the name n is served beside it, as <target>__n. The release of a partition takes the place of
    the one that was served of it; those of the others stay.

    Raises ReleaseRefused where the rows do not fit `sql_types`, SourceError where the target's name
    is taken, StorageError where the database or the folder cannot be written.
    """
    _refuse_unpublishable(rows, manifest)
    staged: list[Path] = []

    def attempt(connection: Connection) -> Release:
        relation = _target(connection, Relation.parse(target))
        if folder is not None:
            settle(folder, relation, recorded(connection, str(relation)))
        _refuse_other_parts(
            recorded(connection, str(relation)), relation, None if partition is None else partition.by
        )
        refuse_unknown_types(connection, relation, sql_types)
        _refuse_companions(connection, relation, companions or {})
        facts = {**manifest, **_parted(manifest, partition)}
        release = _published(connection, relation, rows, sql_types, companions or {}, facts, folder)
        _refuse_clash(connection, release)
        table = Relation.parse(release.relation)
        _comment(connection, release, table, Companion(rows, sql_types, comments or {}))
        for name, companion in (companions or {}).items():
            _comment(connection, release, table.beside(name), companion)
        record(connection, release, manifest_text(release.manifest))
        if folder is not None:
            staged.append(stage(connection, release, dict(sql_types), manifest_text(release.manifest)))
        return release

    with _ONE_AT_A_TIME:
        try:
            release = warehouse.transact(attempt)
        except BaseException:
            for path in staged:
                discard(path)
            raise
        if folder is not None:
            settle(folder, Relation.parse(release.target), [release])
    return release


def refuse_unservable(warehouse: Warehouse, target: str, by: str | None = None) -> None:
    """Raise what `publish` would raise of the file and of the target's name, before work is done for it.

    `by` is how the source is parted; None for the whole of it.
    """
    refuse_read_only(warehouse.path)
    with warehouse.connect(read_only=True) as connection:
        relation = _target(connection, Relation.parse(target))
        _refuse_other_parts(recorded(connection, str(relation)), relation, by)


def _refuse_companions(connection: Connection, target: Relation, companions: Mapping[str, Companion]) -> None:
    """Raise where a companion's types are no types, or its name is not ours."""
    for name, companion in companions.items():
        refuse_unknown_types(connection, target, companion.sql_types)
        earlier = recorded(connection, str(target))
        ours = any(name in companions_of(release) for release in earlier)
        _refuse_taken(connection, target.beside(name), ours=ours)


def _parted(manifest: Mapping[str, Any], partition: Partition | None) -> dict[str, Any]:
    """What the manifest says of a partition, beside how its rows were drawn."""
    if partition is None:
        return {}
    return {"partition": {**manifest.get("partition", {}), **asdict(partition)}}


def _refuse_other_parts(known: list[Release], target: Relation, wanted: str | None) -> None:
    """Raise SourceError where the view would serve rows twice: parts beside the whole, or other parts."""
    for it in known:
        found = it.manifest.get("partition", {}).get("by")
        if it.served and found != wanted:
            raise SourceError(
                f"target {str(target)!r} must be of {_parts(wanted)}, however {it.label} is served, of "
                f"{_parts(found)}: together they would serve rows twice. Choose another target."
            )


def _parts(by: str | None) -> str:
    return "the whole source" if by is None else f"partitions of {by}"


def _refuse_clash(connection: Connection, release: Release) -> None:
    """Raise ReleaseRefused where a key is served already, by the release of another partition."""
    clash = clash_of(connection, release, [it for it in recorded(connection, release.target) if it.served])
    if clash is not None:
        reason = f"column {clash.column!r} has keys that {clash.release.label} serves: materialize `candidate` again"
        raise ReleaseRefused(release.target, (reason,))


def _refuse_unpublishable(rows: Path | pa.Table, manifest: Mapping[str, Any]) -> None:
    if isinstance(rows, Path) and not rows.is_file():
        raise StorageError(f"the rows must be a parquet file, however {str(rows)!r} is gone. Sample again.")
    try:
        manifest_text(manifest)
    except (TypeError, ValueError) as error:
        raise UsageError(f"a manifest must be plain JSON, however: {error}. See Manifest.to_json.") from error


def _target(connection: Connection, wanted: Relation) -> Relation:
    """The target as earlier releases wrote it; refused where its name is not ours."""
    known = recorded(connection, str(wanted))
    if known:
        wanted = Relation.parse(known[0].target)
    _refuse_taken(connection, wanted, ours=bool(known))
    return wanted


def _refuse_taken(connection: Connection, wanted: Relation, *, ours: bool) -> None:
    """Raise SourceError where a table has the name of the view, or a view that no release made."""
    taken = connection.execute(
        "SELECT table_type FROM information_schema.tables WHERE table_catalog = current_database() "
        "AND lower(table_schema) = lower(?) AND lower(table_name) = lower(?)",
        [wanted.schema, wanted.name],
    ).fetchall()
    if taken and (taken[0][0] != "VIEW" or not ours):
        what = "view" if taken[0][0] == "VIEW" else "table"
        raise SourceError(
            f"target {str(wanted)!r} must be free for the view that serves releases, however a {what} "
            "that tabdar did not make has that name. Choose another target schema, or rename it."
        )


def _published(
    connection: Connection,
    target: Relation,
    rows: Path | pa.Table,
    types: Mapping[str, str],
    companions: Mapping[str, Companion],
    manifest: Mapping[str, Any],
    folder: Path | None,
) -> Release:
    """The filled tables of the next number, with the manifest that says what they hold."""
    number = max((release.number for release in recorded(connection, str(target))), default=0) + 1
    table = target.release(number)
    made = _made(connection, target, table, Companion(rows, types))
    beside = {
        name: _made(connection, target, table.beside(name), it).contents.to_json()
        for name, it in sorted(companions.items())
    }
    created = datetime.now(UTC)
    stamp = {"target": str(target), "number": number, "relation": str(table), "created": created.isoformat()}
    named = {"companions": list(beside), "beside": beside} if beside else {}
    facts = {**manifest, **stamp, "rows": made.rows, **made.contents.to_json(), **named}
    copy = None if folder is None else copy_path(folder, target, number)
    sealed = text_hash(manifest_text(facts))
    return Release(
        str(target),
        number,
        str(table),
        created,
        made.rows,
        made.contents.rows_hash,
        True,
        facts,
        sealed,
        copy,
        partition=facts.get("partition", {}).get("key"),
    )


@dataclass(frozen=True, slots=True)
class _Made:
    rows: int
    contents: Contents


def _made(connection: Connection, target: Relation, table: Relation, it: Companion) -> _Made:
    """A new table, filled."""
    create(connection, target, table, it.sql_types)
    count = fill(connection, target, table, it.rows, it.sql_types)
    return _Made(count, Contents.of(connection, f"SELECT * FROM {table.sql}"))


def _comment(connection: Connection, release: Release, table: Relation, it: Companion) -> None:
    """Say in the warehouse itself that the rows are synthetic, and where their manifest is."""
    what, beside = kind(release), "" if str(table) == release.relation else "beside "
    text = (
        f"{what}: {beside}release {release.number} of {release.target}, {release.created:%Y-%m-%d %H:%M} UTC, "
        f"by tabdar_pipeline. Manifest: tabdar.releases, SHA-256 {release.manifest_hash}."
    )
    connection.execute(f"COMMENT ON TABLE {table.sql} IS {literal(text)}")
    for name in it.sql_types:
        about = f"{what}. {it.comments.get(name, '')}".rstrip()
        connection.execute(f"COMMENT ON COLUMN {table.sql}.{identifier(name)} IS {literal(about)}")
