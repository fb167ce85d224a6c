"""Publish rows as a release: an immutable table, the view that serves it, a record; one transaction.

    <schema>.<table>__r0001    the rows of a release, in the types of the source
    <schema>.<table>           a view of the release that is served
    tabdar.releases            one row a release, with its manifest

The number is taken inside the transaction, so a crash at any instant leaves the previous release
served and nothing else. Where a folder is named, copies.py says what is written there and when.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from tabdar_pipeline.errors import ReleaseRefused, SourceError, StorageError, UsageError
from tabdar_pipeline.warehouse.catalog import types_of
from tabdar_pipeline.warehouse.copies import copy_path, discard, settle, stage
from tabdar_pipeline.warehouse.digest import rows_hash
from tabdar_pipeline.warehouse.duckdb import Connection, Warehouse, fact
from tabdar_pipeline.warehouse.files import parquet_rows
from tabdar_pipeline.warehouse.names import Relation, identifier, literal
from tabdar_pipeline.warehouse.releases import (
    Release,
    Verification,
    find,
    manifest_text,
    record,
    recorded,
    releases,
    rollback,
    text_hash,
    verify,
)

__all__ = ["Release", "Verification", "find", "publish", "releases", "rollback", "verify"]

_ROWS = "tabdar rows to publish"  # a view of this connection only


def publish(
    warehouse: Warehouse,
    target: str,
    rows: Path | pa.Table,
    sql_types: Mapping[str, str],
    manifest: Mapping[str, Any],
    folder: Path | None = None,
    comments: Mapping[str, str] | None = None,
) -> Release:
    """Publish rows (a parquet file or an Arrow table) as the next release of `target`; whole, or not at all.

    Raises ReleaseRefused where the rows do not fit `sql_types`, SourceError where the target's name
    is taken, StorageError where the database or the folder cannot be written.
    """
    _refuse_unpublishable(rows, manifest)
    staged: list[Path] = []

    def attempt(connection: Connection) -> Release:
        relation = _target(connection, Relation.parse(target))
        if folder is not None:
            settle(folder, relation, recorded(connection, str(relation)))
        _refuse_unknown_types(connection, relation, sql_types)
        release = _published(connection, relation, rows, sql_types, manifest, folder)
        _comment(connection, release, sql_types, comments or {})
        record(connection, release, manifest_text(release.manifest))
        if folder is not None:
            staged.append(stage(connection, release, dict(sql_types), manifest_text(release.manifest)))
        return release

    try:
        release = warehouse.transact(attempt)
    except BaseException:
        for path in staged:
            discard(path)
        raise
    if folder is not None:
        settle(folder, Relation.parse(release.target), [release])
    return release


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
    taken = connection.execute(
        "SELECT table_type FROM information_schema.tables WHERE table_catalog = current_database() "
        "AND lower(table_schema) = lower(?) AND lower(table_name) = lower(?)",
        [wanted.schema, wanted.name],
    ).fetchall()
    if taken and (taken[0][0] != "VIEW" or not known):
        what = "view" if taken[0][0] == "VIEW" else "table"
        raise SourceError(
            f"target {str(wanted)!r} must be free for the view that serves releases, however a {what} "
            "that tabdar did not make has that name. Choose another target schema, or rename it."
        )
    return wanted


def _refuse_unknown_types(connection: Connection, target: Relation, types: Mapping[str, str]) -> None:
    """A type is SQL in a statement: let in only what DuckDB itself would write for a type."""
    for column, kind in types.items():
        try:
            duckdb.SQLExpression(f"CAST(NULL AS {kind})")
            canonical = connection.execute(f"SELECT typeof(CAST(NULL AS {kind}))").fetchall()[0][0]
        except duckdb.Error as error:
            canonical = fact(error)
        if canonical != kind:
            raise UsageError(
                f"target {str(target)!r}, column {column!r}: the type must be one as DuckDB describes it, "
                f"however: {kind!r} ({canonical}). Take the types from the source's description."
            )


def _published(
    connection: Connection,
    target: Relation,
    rows: Path | pa.Table,
    types: Mapping[str, str],
    manifest: Mapping[str, Any],
    folder: Path | None,
) -> Release:
    number = max((release.number for release in recorded(connection, str(target))), default=0) + 1
    table = target.release(number)
    _create(connection, target, table, types)
    count = _fill(connection, target, table, rows, types)
    created = datetime.now(UTC)
    release = Release(
        str(target),
        number,
        str(table),
        created,
        count,
        rows_hash(connection, f"SELECT * FROM {table.sql}"),
        served=True,
        manifest={},
        manifest_hash="",
        copy=None if folder is None else copy_path(folder, target, number),
    )
    stamped = {
        **manifest,
        "target": release.target,
        "number": number,
        "relation": release.relation,
        "created": created.isoformat(),
        "rows": count,
        "rows_hash": release.rows_hash,
    }
    return replace(release, manifest=stamped, manifest_hash=text_hash(manifest_text(stamped)))


def _create(connection: Connection, target: Relation, table: Relation, types: Mapping[str, str]) -> None:
    """The immutable table, in exactly the source's types."""
    columns = ", ".join(f"{identifier(name)} {kind}" for name, kind in types.items())
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(target.schema)}")
    try:
        connection.execute(f"CREATE TABLE {table.sql} ({columns})")
    except duckdb.CatalogException as error:
        raise SourceError(
            f"table {str(table)!r} must not be there before it is released, however: {fact(error)}. "
            "Rename that table, or choose another target."
        ) from error
    made = types_of(connection, f"SELECT * FROM {table.sql}")
    if list(made.items()) != list(types.items()):
        differing = tuple(
            f"column {name!r} must be {kind}, however it would be {made.get(name)}"
            for name, kind in types.items()
            if made.get(name) != kind
        )
        raise ReleaseRefused(str(target), differing)


def _fill(
    connection: Connection, target: Relation, table: Relation, rows: Path | pa.Table, types: Mapping[str, str]
) -> int:
    """Stream the rows into the table; how many there were."""
    try:
        if isinstance(rows, pa.Table):
            connection.register(_ROWS, rows)
        query = identifier(_ROWS) if isinstance(rows, pa.Table) else parquet_rows(rows)
        _refuse_other_columns(target, types, types_of(connection, f"SELECT * FROM {query}"))
        cells = ", ".join(f"CAST({identifier(name)} AS {kind})" for name, kind in types.items())
        inserted = connection.execute(f"INSERT INTO {table.sql} SELECT {cells} FROM {query}").fetchall()
    except (duckdb.DataError, duckdb.ProgrammingError, duckdb.IntegrityError) as error:
        reason = f"the rows do not fit the source's types: {fact(error)}"
        raise ReleaseRefused(str(target), (reason,)) from error
    return int(inserted[0][0])


def _refuse_other_columns(target: Relation, types: Mapping[str, str], have: Mapping[str, str]) -> None:
    reasons = [f"column {name!r} of the source is missing" for name in types if name not in have]
    reasons += [f"column {name!r} is not of the source" for name in have if name not in types]
    if reasons:
        raise ReleaseRefused(str(target), tuple(reasons))


def _comment(
    connection: Connection, release: Release, types: Mapping[str, str], comments: Mapping[str, str]
) -> None:
    """Say in the warehouse itself that the rows are synthetic, and where their manifest is."""
    text = (
        f"Synthetic: release {release.number} of {release.target}, {release.created:%Y-%m-%d %H:%M} UTC, "
        f"by tabdar_pipeline. Manifest: tabdar.releases, SHA-256 {release.manifest_hash}."
    )
    table = Relation.parse(release.relation).sql
    connection.execute(f"COMMENT ON TABLE {table} IS {literal(text)}")
    for name in types:
        about = f"Synthetic. {comments.get(name, '')}".rstrip()
        connection.execute(f"COMMENT ON COLUMN {table}.{identifier(name)} IS {literal(about)}")
