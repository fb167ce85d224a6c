"""Files that the command line writes: whole, or not at all.

A file is replaced when the new one is complete, and stays as it was until then. In a database, only a
table that this program wrote is replaced: it is known by its comment.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tabdar_pipeline.checkpoint import MANIFEST
from tabdar_pipeline.errors import StorageError, UsageError
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.schemas.types import arrow_type
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.files import parquet_rows, partial_file
from tabdar_pipeline.warehouse.names import Relation, identifier, literal

if TYPE_CHECKING:
    import duckdb

Write = Callable[[pa.RecordBatch], None]
_DATABASES = frozenset({".duckdb", ".ddb", ".db"})
_FILES = frozenset({".parquet", ".csv"})
ROW_GROUP = 64 * 1024  # rows: whole seed blocks
_COMMENT = "Written by tabdar: synthetic or imputed rows"


def refuse_unwritable(out: Path, table: str | None = None, *, source: Path | None = None) -> None:
    """Raise UsageError where OUT cannot be written, before any work is done for it."""
    suffix = out.suffix.lower()
    if suffix not in _FILES | _DATABASES:
        raise UsageError(f"OUT must be .parquet, .csv or .duckdb, however: {out.name!r}. Choose one.")
    refuse_no_folder(out)
    if suffix in _FILES and table is not None:
        raise UsageError(f"{out.name!r} holds one table, however {table!r} was named. Leave --table out.")
    if suffix in _FILES and source is not None and out.resolve() == source.resolve():
        raise UsageError(f"OUT must not be the source, however both are {str(out)!r}. Name another file.")
    if suffix in _DATABASES:
        if table is None:
            raise UsageError(f"{out.name!r} is a database: name a table with --table schema.table.")
        relation = Relation.parse(table)
        if out.exists():
            with Warehouse(out).connect(read_only=True) as connection:
                _refuse_foreign(connection, relation)


def refuse_no_folder(out: Path) -> None:
    """Raise UsageError where a file cannot be: no such folder, or a folder itself."""
    if out.is_dir():
        raise UsageError(f"{str(out)!r} must be a file, however it is a folder. Name a file in it.")
    if not out.parent.is_dir():
        raise UsageError(
            f"the folder of {out.name!r} must exist, however {str(out.parent)!r} does not. Make it."
        )


def refuse_foreign_folder(folder: Path) -> None:
    """Raise UsageError where a model directory would replace what is none."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file()):
        raise UsageError(
            f"{str(folder)!r} must be new, empty or a model directory, however it holds something else. "
            "Name another folder."
        )


@contextlib.contextmanager
def writer(out: Path, schema: TableSchema, table: str | None = None) -> Iterator[Write]:
    """Write batches to a .parquet, .csv or .duckdb file (which keeps its other tables)."""
    suffix = out.suffix.lower()
    try:
        with partial_file(out.parent) as partial:
            with _stream(partial, schema, csv=suffix == ".csv") as write:
                yield write
            if suffix in _FILES:
                partial.replace(out)
            else:
                _load(partial, out, schema, Relation.parse(str(table)))
    except OSError as error:
        raise _unwritten(out, error) from error


def write_text(out: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    try:
        with partial_file(out.parent) as partial:
            partial.write_text(text, encoding="utf-8")
            partial.replace(out)
    except OSError as error:
        raise _unwritten(out, error) from error


@contextlib.contextmanager
def _stream(path: Path, schema: TableSchema, *, csv: bool) -> Iterator[Write]:
    kinds = pa.schema([(c.name, arrow_type(c.arrow_type)) for c in schema.columns])
    if not csv:
        with pq.ParquetWriter(path, kinds, compression="zstd") as parquet, _grouped(parquet) as write:
            yield write
        return
    plain = pa.schema([(f.name, _csv_type(f.type)) for f in kinds])
    with pa.csv.CSVWriter(path, plain) as file:
        yield lambda batch: file.write_batch(batch.cast(plain))


@contextlib.contextmanager
def _grouped(parquet: pq.ParquetWriter) -> Iterator[Write]:
    """Batches as row groups of a size that readers like."""
    waiting: list[pa.RecordBatch] = []

    def flush() -> None:
        if waiting:
            parquet.write_table(pa.Table.from_batches(waiting).unify_dictionaries())
            waiting.clear()

    def write(batch: pa.RecordBatch) -> None:
        waiting.append(batch)
        if sum(b.num_rows for b in waiting) >= ROW_GROUP:
            flush()

    yield write
    flush()


def _load(rows: Path, out: Path, schema: TableSchema, relation: Relation) -> None:
    """Take the rows into a database, which is locked only now; a database that is not there is made."""
    if out.exists():
        Warehouse(out).transact(lambda connection: _replace(connection, rows, schema, relation))
        return
    import duckdb

    with partial_file(out.parent) as fresh:
        duckdb.connect(str(fresh)).close()
        Warehouse(fresh).transact(lambda connection: _replace(connection, rows, schema, relation))
        fresh.replace(out)


def _replace(
    connection: "duckdb.DuckDBPyConnection", rows: Path, schema: TableSchema, relation: Relation
) -> None:
    _refuse_foreign(connection, relation)
    types = ", ".join(f"{identifier(c.name)} {c.sql_type}" for c in schema.columns)
    cells = ", ".join(f"CAST({identifier(c.name)} AS {c.sql_type})" for c in schema.columns)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(relation.schema)}")
    connection.execute(f"CREATE OR REPLACE TABLE {relation.sql} ({types})")
    connection.execute(f"INSERT INTO {relation.sql} SELECT {cells} FROM {parquet_rows(rows)}")
    connection.execute(f"COMMENT ON TABLE {relation.sql} IS {literal(_COMMENT)}")


def _refuse_foreign(connection: "duckdb.DuckDBPyConnection", relation: Relation) -> None:
    """Raise UsageError where a table or view of that name stands that this program did not write."""
    found = connection.execute(
        "SELECT comment FROM duckdb_tables() WHERE database_name = current_database() "
        "AND lower(schema_name) = lower($schema) AND lower(table_name) = lower($name) UNION ALL "
        "SELECT 'a view' FROM duckdb_views() WHERE database_name = current_database() "
        "AND lower(schema_name) = lower($schema) AND lower(view_name) = lower($name)",
        {"schema": relation.schema, "name": relation.name},
    ).fetchone()
    if found is not None and found[0] != _COMMENT:
        raise UsageError(
            f"table {str(relation)!r} must be new or one that tabdar wrote, however it holds other rows. "
            "Name another table."
        )


def _unwritten(out: Path, error: OSError) -> StorageError:
    why = error.strerror or error
    return StorageError(f"{str(out)!r} must be written, however: {why}. Free space or choose another folder.")


def _csv_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
