"""Tables in files: .parquet, .csv, or a table of a .duckdb file."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet

from tabdar_pipeline.errors import SourceError, UsageError
from tabdar_pipeline.warehouse.catalog import Selection, readable, select
from tabdar_pipeline.warehouse.duckdb import Connection, Warehouse, fact, in_memory
from tabdar_pipeline.warehouse.gathering import gathered
from tabdar_pipeline.warehouse.names import literal

_BATCH = 100_000  # rows
_DATABASES = frozenset({".duckdb", ".ddb", ".db"})
_FILES = frozenset({".parquet", ".csv"})


def is_database(path: Path) -> bool:
    """Whether a file holds tables that have names."""
    return path.suffix.lower() in _DATABASES


def read_table(path: Path, name: str | None = None) -> tuple[pa.Table, dict[str, str]]:
    """A file, or the table `name` of a database, as Arrow; and DuckDB's types where they are known.

    Raises SourceError where it is missing or unreadable, UsageError where its kind is not known.
    """
    suffix = path.suffix.lower()
    if is_database(path):
        return _from_database(path, name)
    if suffix not in _FILES:
        raise UsageError(f"a source must be .parquet, .csv or .duckdb, however: {path.name!r}. Convert it.")
    if name is not None:
        raise UsageError(f"{path.name!r} holds one table, however {name!r} was asked for. Leave it out.")
    if not path.is_file():
        raise SourceError(f"a source must exist, however {str(path)!r} does not. Correct the path.")
    try:
        return _from_csv(path) if suffix == ".csv" else (read_parquet(path), {})
    except (duckdb.Error, pa.ArrowInvalid, OSError) as error:
        kind = suffix[1:]
        raise SourceError(f"{str(path)!r} must be {kind}, however: {fact(error)}. Write it again.") from error


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """The rows of one parquet file, all columns or these."""
    with pyarrow.parquet.ParquetFile(path) as file:
        batches, schema = file.iter_batches(_BATCH, columns=columns), file.schema_arrow
        if columns is None:
            return gathered(batches, schema)
        kinds = pa.schema([schema.field(name) for name in columns], schema.metadata)
        return gathered((batch.select(columns) for batch in batches), kinds)


def write_query(connection: Connection, query: str, path: Path) -> int:
    """Stream a query's rows to a parquet file and the disk below it; how many there were."""
    rows = 0
    with (
        connection.sql(query).to_arrow_reader(_BATCH) as reader,
        pyarrow.parquet.ParquetWriter(path, reader.schema, compression="zstd") as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    with path.open("rb") as written:
        os.fsync(written.fileno())
    return rows


@contextmanager
def partial_file(folder: Path) -> Iterator[Path]:
    """A path in the folder for a file that is not whole yet; what is still there at the end goes."""
    partial = folder / f".{uuid4().hex}.partial"
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def parquet_rows(path: Path) -> str:
    """SQL for the rows of this one parquet file, whatever its path holds: "*" or "a=1" are not patterns.

    >>> parquet_rows(Path("a[1].parquet"))
    "read_parquet('a[[]1].parquet', hive_partitioning = false)"
    """
    return f"read_parquet({_exactly(path)}, hive_partitioning = false)"


def _exactly(path: Path) -> str:
    return literal(re.sub(r"[\[*?]", lambda match: f"[{match[0]}]", str(path)))


def _from_database(path: Path, name: str | None) -> tuple[pa.Table, dict[str, str]]:
    if name is None:
        raise UsageError(f"{path.name!r} is a database: name a table with --table schema.table.")
    warehouse = Warehouse(path)
    with warehouse.connect(read_only=True) as connection, readable(name):
        selected = select(connection, warehouse, name, Selection())
        return _answered(connection, selected.query), selected.sql_types


def _from_csv(path: Path) -> tuple[pa.Table, dict[str, str]]:
    with in_memory() as connection:
        query = f"SELECT * FROM read_csv({_exactly(path)}, sample_size = -1, hive_partitioning = false)"
        types = {row[0]: row[1] for row in connection.execute(f"DESCRIBE {query}").fetchall()}
        return _answered(connection, query), types


def _answered(connection: Connection, query: str) -> pa.Table:
    with connection.sql(query).to_arrow_reader(_BATCH) as reader:
        return gathered(reader, reader.schema)
