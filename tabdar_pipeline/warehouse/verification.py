"""Whether a release is still what was published: its rows, its manifest, its copy."""

from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import duckdb

from tabdar_pipeline.warehouse.catalog import types_of
from tabdar_pipeline.warehouse.digest import row_hashes, rows_hash
from tabdar_pipeline.warehouse.duckdb import Connection, Warehouse, fact, in_memory
from tabdar_pipeline.warehouse.files import parquet_rows
from tabdar_pipeline.warehouse.names import Relation, identifier
from tabdar_pipeline.warehouse.releases import Release, one_of, recorded, refuse_retired, text_hash


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a release is what was published; true where there is no problem."""

    release: Release
    problems: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether no problem was found."""
        return not self.problems


def verify(
    warehouse: Warehouse, target: str, number: int | None = None, partition: str | None = None
) -> Verification:
    """Compare a release's table, manifest and copy with what was recorded when it was published."""
    with warehouse.connect(read_only=True) as connection:
        release = one_of(recorded(connection, target), target, number, partition)
        refuse_retired(release)
        problems = [_table_problem(connection, release), _manifest_problem(connection, release)]
    problems.append(_copy_problem(release))
    return Verification(release, tuple(problem for problem in problems if problem))


def first_difference(warehouse: Warehouse, release: Release, rows: Path) -> int | None:
    """The place of the first row in which a parquet file differs from the release's table; None where none does."""
    with warehouse.connect(read_only=True) as connection:
        table = f"SELECT * FROM {Relation.parse(release.relation).sql}"
        cells = ", ".join(
            f"CAST({identifier(name)} AS {kind}) AS {identifier(name)}"
            for name, kind in types_of(connection, table).items()
        )
        ours = f"SELECT {cells} FROM {parquet_rows(rows)}"
        with (
            connection.cursor() as a,
            connection.cursor() as b,
            closing(row_hashes(a, table)) as published,
            closing(row_hashes(b, ours)) as drawn,
        ):
            pairs = enumerate(zip_longest(published, drawn))
            return next((place for place, (was, now) in pairs if was != now), None)


def _table_problem(connection: Connection, release: Release) -> str | None:
    try:
        query = f"SELECT * FROM {Relation.parse(release.relation).sql}"
        found = rows_hash(connection, query)
    except duckdb.Error as error:
        return f"table {release.relation!r} cannot be read: {fact(error)}"
    if found != release.rows_hash:
        return f"table {release.relation!r} has other rows than were published: hash {found}"
    return None


def _manifest_problem(connection: Connection, release: Release) -> str | None:
    rows = connection.execute(
        "SELECT manifest FROM tabdar.releases WHERE target = ? AND number = ?",
        [release.target, release.number],
    ).fetchall()
    stamp = (release.manifest.get("rows_hash"), text_hash(rows[0][0]))
    if stamp != (release.rows_hash, release.manifest_hash):
        return f"the manifest of {release.identifier} is not the one that was published"
    return None


def _copy_problem(release: Release) -> str | None:
    if release.copy is None:
        return None
    if not release.copy.exists():
        return f"copy {str(release.copy)!r} is not there (tabdar clean finishes one that was cut off)"
    try:
        with in_memory() as connection:
            found = rows_hash(connection, f"SELECT * FROM {parquet_rows(release.copy)}")
    except duckdb.Error as error:
        return f"copy {str(release.copy)!r} cannot be read: {fact(error)}"
    return None if found == release.rows_hash else f"copy {str(release.copy)!r} has other rows than the table"
