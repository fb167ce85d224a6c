"""A table as it is now, as a parquet file with a data version."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tabdar_pipeline.errors import SourceError
from tabdar_pipeline.warehouse.catalog import Selection, readable, select
from tabdar_pipeline.warehouse.digest import rows_hash
from tabdar_pipeline.warehouse.duckdb import Warehouse, in_memory, storage_error
from tabdar_pipeline.warehouse.files import parquet_rows, partial_file, read_table, write_query
from tabdar_pipeline.warehouse.names import identifier

__all__ = ["Selection", "Snapshot", "carve", "data_version", "read_table", "snapshot", "version_of"]

_LEAST = 2  # rows
_ROWS = "rows of a part"  # a view of one connection only


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Rows of a table at one moment."""

    name: str  # schema.table, as the database writes it
    path: Path  # parquet
    rows: int
    data_version: str  # SHA-256 of columns, types and rows, whatever their order
    sql_types: dict[str, str] = field(default_factory=dict)


def snapshot(warehouse: Warehouse, name: str, folder: Path, selection: Selection | None = None) -> Snapshot:
    """Write the rows to `folder/<data version>.parquet`, whole or not at all.

    Their values alone decide the order of the rows and which of them a cap keeps, so equal data
    versions are equal files. The database is held while rows stream to disk, not while they are hashed.
    """
    with partial_file(folder) as partial:
        try:
            with warehouse.connect(read_only=True) as connection, readable(name):
                selected = select(connection, warehouse, name, selection or Selection())
                folder.mkdir(parents=True, exist_ok=True)
                rows = write_query(connection, selected.query, partial)
            _refuse_few(str(selected.relation), rows)
            with in_memory(spill=folder) as connection:
                hashed = rows_hash(connection, f"SELECT * FROM {parquet_rows(partial)}")
            version = _version(selected.sql_types, hashed)
            path = partial.replace(folder / f"{version[:16]}.parquet")
        except OSError as error:
            raise storage_error(folder, error) from error
    return Snapshot(str(selected.relation), path, rows, version, selected.sql_types)


def data_version(warehouse: Warehouse, name: str, selection: Selection | None = None) -> str:
    """The data version that a snapshot taken now would have."""
    with warehouse.connect(read_only=True) as connection, readable(name):
        selected = select(connection, warehouse, name, selection or Selection(), ordered=False)
        return _version(selected.sql_types, rows_hash(connection, selected.query))


def carve(whole: Snapshot, rows: pa.Table, folder: Path) -> Snapshot:
    """Some rows of a snapshot as one of their own, in `folder/<data version>.parquet`, whole or not at all."""
    _refuse_few(whole.name, rows.num_rows)
    version = version_of(rows, whole.sql_types)
    with partial_file(folder) as partial:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows, partial, compression="zstd")
            path = partial.replace(folder / f"{version[:16]}.parquet")
        except OSError as error:
            raise storage_error(folder, error) from error
    return Snapshot(whole.name, path, rows.num_rows, version, dict(whole.sql_types))


def version_of(rows: pa.Table, types: Mapping[str, str]) -> str:
    """The data version of rows that were read from a snapshot."""
    with in_memory() as connection:
        connection.register(_ROWS, rows)
        return _version(types, rows_hash(connection, f"SELECT * FROM {identifier(_ROWS)}"))


def _refuse_few(name: str, rows: int) -> None:
    if rows < _LEAST:
        raise SourceError(
            f"table {name!r} must have at least {_LEAST} rows to learn from, however it has {rows}. "
            "Check the filter, or wait until the table is filled."
        )


def _version(types: Mapping[str, str], rows: str) -> str:
    return hashlib.sha256(json.dumps([list(types.items()), rows]).encode()).hexdigest()
