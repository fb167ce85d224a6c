"""Whether a source has something new: a mark that changes when its rows do, as cheap as its author allows."""

from pathlib import Path
from typing import Literal

from tabdar_pipeline.errors import SourceError, UsageError
from tabdar_pipeline.warehouse.catalog import Selection, readable, select, types_of
from tabdar_pipeline.warehouse.duckdb import Warehouse, in_memory
from tabdar_pipeline.warehouse.files import parquet_rows
from tabdar_pipeline.warehouse.names import did_you_mean, identifier, resolved
from tabdar_pipeline.warehouse.snapshot import data_version

By = Literal["checksum", "rows", "watermark"]


def mark(
    warehouse: Warehouse, name: str, selection: Selection, by: By = "checksum", column: str | None = None
) -> str:
    """The mark of a source now: its data version, how many rows it has, or the largest value of a column.

    Raises UsageError where a watermark has no column, SourceError where the source cannot be read.
    """
    if (by == "watermark") != (column is not None):
        raise UsageError(
            f"a column must be named for a watermark and for nothing else, however: by={by}, column={column!r}. "
            "Correct `watch`."
        )
    if by == "checksum":
        return data_version(warehouse, name, selection)
    with warehouse.connect(read_only=True) as connection, readable(name):
        selected = select(connection, warehouse, name, selection, ordered=False)
        what = "count(*)" if column is None else f"max({_column(name, selected.sql_types, column)})"
        found = connection.execute(f"SELECT CAST({what} AS VARCHAR) FROM ({selected.query})").fetchall()
    return str(found[0][0])


def mark_of(rows: Path, column: str) -> str | None:
    """The watermark of a snapshot's file; None where that is gone, or has no such column."""
    if not rows.is_file():
        return None
    with in_memory(spill=rows.parent) as connection:
        query = f"SELECT * FROM {parquet_rows(rows)}"
        found = resolved(column, list(types_of(connection, query)))
        if found is None:
            return None
        value = connection.execute(
            f"SELECT CAST(max({identifier(found)}) AS VARCHAR) FROM ({query})"
        ).fetchall()
    return str(value[0][0])


def _column(name: str, have: dict[str, str], column: str) -> str:
    found = resolved(column, list(have))
    if found is None:
        raise SourceError(
            f"table {name!r} must have the column {column!r} to watch, however it has not. "
            f"{did_you_mean(column, list(have))}"
        )
    return identifier(found)
