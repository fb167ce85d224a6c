"""Files that the command line writes: whole, or not at all."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tabdar_pipeline.errors import StorageError, UsageError
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.schemas.types import arrow_type
from tabdar_pipeline.warehouse.names import Relation, identifier

Write = Callable[[pa.RecordBatch], None]


@contextlib.contextmanager
def writer(out: Path, schema: TableSchema, table: str | None = None) -> Iterator[Write]:
    """Write batches to a .parquet, .csv or .duckdb file (which keeps its other tables)."""
    if out.suffix not in {".parquet", ".csv", ".duckdb"}:
        raise UsageError(f"OUT must be .parquet, .csv or .duckdb, however: {out.name!r}. Choose one.")
    if out.suffix == ".duckdb" and table is None:
        raise UsageError(f"{out.name!r} is a database: name a table with --table schema.table.")
    if not out.parent.is_dir():
        raise UsageError(f"the folder of OUT must exist, however {str(out.parent)!r} does not. Make it.")
    try:
        if out.suffix == ".duckdb":
            assert table is not None
            with _duckdb(out, schema, Relation.parse(table)) as write:
                yield write
        else:
            with _file(out, schema) as write:
                yield write
    except OSError as error:
        raise StorageError(
            f"{str(out)!r} must be written, however: {error.strerror or error}. Free space."
        ) from error


@contextlib.contextmanager
def _file(out: Path, schema: TableSchema) -> Iterator[Write]:
    kinds = pa.schema([(c.name, arrow_type(c.arrow_type)) for c in schema.columns])
    partial = out.with_name(f".{out.name}.partial")
    try:
        if out.suffix == ".parquet":
            with pq.ParquetWriter(partial, kinds, compression="zstd") as parquet:
                yield parquet.write_batch
        else:
            plain = pa.schema([(f.name, _csv_type(f.type)) for f in kinds])
            with pa.csv.CSVWriter(partial, plain) as csv:
                yield lambda batch: csv.write_batch(batch.cast(plain))
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _duckdb(out: Path, schema: TableSchema, relation: Relation) -> Iterator[Write]:
    """All batches in one transaction; a table of that name is replaced."""
    import duckdb

    with duckdb.connect(str(out)) as connection:
        connection.execute("BEGIN")
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(relation.schema)}")
        columns = ", ".join(f"{identifier(c.name)} {c.sql_type}" for c in schema.columns)
        connection.execute(f"CREATE OR REPLACE TABLE {relation.sql} ({columns})")

        def write(batch: pa.RecordBatch) -> None:
            connection.register("drawn", pa.Table.from_batches([batch]))
            connection.execute(f"INSERT INTO {relation.sql} SELECT * FROM drawn")
            connection.unregister("drawn")

        yield write
        connection.execute("COMMIT")


def _csv_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
