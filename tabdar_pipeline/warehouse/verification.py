"""Whether a release is still what was published: its tables, the views that serve it, its record, its copy."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import duckdb

from tabdar_pipeline.warehouse.catalog import types_of
from tabdar_pipeline.warehouse.contents import Contents
from tabdar_pipeline.warehouse.copies import manifest_is_of
from tabdar_pipeline.warehouse.digest import row_hashes
from tabdar_pipeline.warehouse.duckdb import Connection, Warehouse, fact, in_memory
from tabdar_pipeline.warehouse.files import parquet_rows
from tabdar_pipeline.warehouse.names import Relation, identifier
from tabdar_pipeline.warehouse.promotion import promoted_view
from tabdar_pipeline.warehouse.releases import (
    Release,
    find,
    recorded,
    refuse_retired,
    served_views,
    tables_of,
    text_hash,
)
from tabdar_pipeline.warehouse.views import View


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
    """Compare one release with what was recorded when it was published: tables, views, record, manifest, copy."""
    return verify_each(warehouse, [find(warehouse, target, number, partition)])[0]


def verify_each(warehouse: Warehouse, asked: Sequence[Release]) -> list[Verification]:
    """Several releases of one target; the views that serve them are read once."""
    for release in asked:
        refuse_retired(release)
    with warehouse.connect(read_only=True) as connection:
        wrong = _wrong_views(connection, asked)
        return [Verification(it, tuple(_problems(connection, it, wrong))) for it in asked]


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


def _problems(connection: Connection, release: Release, wrong: Mapping[View, str]) -> Iterator[str]:
    table = Relation.parse(release.relation)
    yield from _table_problems(connection, table, Contents.from_json(release.manifest))
    for name, record in release.manifest.get("beside", {}).items():
        yield from _table_problems(connection, table.beside(name), Contents.from_json(record))
    yield from (problem for view, problem in wrong.items() if set(tables_of(release)) & set(view.tables))
    yield from _record_problems(connection, release)
    yield from _copy_problems(release)


def _table_problems(connection: Connection, table: Relation, published: Contents) -> Iterator[str]:
    try:
        found = published.difference(Contents.of(connection, f"SELECT * FROM {table.sql}"))
    except duckdb.Error as error:
        found = f"cannot be read: {fact(error)}"
    if found is not None:
        yield f"table {str(table)!r} {found}"


def _wrong_views(connection: Connection, asked: Sequence[Release]) -> dict[View, str]:
    """The views of these releases that do not serve what the record says, and why."""
    target = asked[0].target
    approved = promoted_view(connection, target)
    views = served_views([it for it in recorded(connection, target) if it.served])
    views += [] if approved is None else [approved]
    tables = {table for it in asked for table in tables_of(it)}
    found = {view: _view_problem(connection, view) for view in views if tables & set(view.tables)}
    return {view: problem for view, problem in found.items() if problem is not None}


def _view_problem(connection: Connection, view: View) -> str | None:
    try:
        served = Contents.of(connection, f"SELECT * FROM {view.relation.sql}")
        if served == Contents.of(connection, view.query):
            return None
    except duckdb.Error as error:
        return f"view {str(view.relation)!r} cannot be read: {fact(error)}"
    tables = ", ".join(str(table) for table in view.tables)
    return f"view {str(view.relation)!r} does not serve the rows of {tables}: roll back to the release, or promote it again"


def _record_problems(connection: Connection, release: Release) -> Iterator[str]:
    """The manifest against its hash, and the other columns of the record against the manifest."""
    rows = connection.execute(
        "SELECT manifest FROM tabdar.releases WHERE target = ? AND number = ?",
        [release.target, release.number],
    ).fetchall()
    if text_hash(rows[0][0]) != release.manifest_hash:
        yield f"the manifest of {release.identifier} is not the one that was published"
        return
    manifest = release.manifest
    recorded_as = {
        "target": release.target,
        "number": release.number,
        "relation": release.relation,
        "created": release.created.isoformat(),
        "rows": release.row_count,
        "rows_hash": release.rows_hash,
    }
    for name, value in recorded_as.items():
        if value != manifest.get(name):
            yield f"tabdar.releases says {name} {value!r} of {release.identifier}, its manifest {manifest.get(name)!r}"
    part = (manifest.get("partition") or {}).get("key")
    if part != release.partition:
        yield f"tabdar.releases says partition {release.partition!r} of {release.identifier}, its manifest {part!r}"


def _copy_problems(release: Release) -> Iterator[str]:
    if release.copy is None:
        return
    copy = str(release.copy)
    if not release.copy.exists():
        yield f"copy {copy!r} is not there (tabdar clean finishes one that was cut off)"
        return
    if not manifest_is_of(release.copy.parent, release):
        yield f"the manifest beside copy {copy!r} is not the one that was published"
    try:
        with in_memory() as connection:
            found = Contents.of(connection, f"SELECT * FROM {parquet_rows(release.copy)}")
    except duckdb.Error as error:
        yield f"copy {copy!r} cannot be read: {fact(error)}"
        return
    names = [it["name"] for it in release.manifest.get("columns", ())]  # parquet has types of its own
    if names and names != [name for name, _ in found.columns or ()]:
        yield f"copy {copy!r} has other columns than the table"
    if found.rows_hash != release.manifest["rows_hash"]:
        yield f"copy {copy!r} has other rows than the table"
