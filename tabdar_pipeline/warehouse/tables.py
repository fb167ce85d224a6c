"""The immutable table of a release: made in exactly the source's types, filled by streaming."""

from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from tabdar_pipeline.errors import ReleaseRefused, SourceError, UsageError
from tabdar_pipeline.warehouse.catalog import types_of
from tabdar_pipeline.warehouse.duckdb import Connection, fact
from tabdar_pipeline.warehouse.files import parquet_rows
from tabdar_pipeline.warehouse.names import Relation, identifier

_ROWS = "tabdar rows to publish"  # a view of this connection only


def refuse_unknown_types(connection: Connection, target: Relation, types: Mapping[str, str]) -> None:
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


def create(connection: Connection, target: Relation, table: Relation, types: Mapping[str, str]) -> None:
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


def fill(
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
