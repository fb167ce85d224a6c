"""A table as it is now, as a parquet file with a data version; and files as tables."""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tabdar_pipeline.errors import SourceError, UsageError
from tabdar_pipeline.warehouse.duckdb import Warehouse, rows_hash
from tabdar_pipeline.warehouse.names import Relation, identifier

ROW_GROUP = 100_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Rows of a table at one moment."""

    name: str  # schema.table
    path: Path  # parquet
    rows: int
    data_version: str  # a hash of columns, types and rows
    sql_types: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a table: columns, a filter in SQL that the author of the YAML wrote, a cap."""

    columns: Sequence[str] | None = None
    where: str | None = None
    limit: int | None = None


def snapshot(
    warehouse: Warehouse, name: str, folder: Path, selection: Selection | None = None
) -> Snapshot:
    """Write the rows to `folder/<data version>.parquet`; a capped table gives its first rows by hash."""
    selection = selection or Selection()
    with warehouse.connect(read_only=True) as connection:
        query = _query(connection, warehouse, Relation.parse(name), selection)
        types = _types(connection, query, name)
        version = _version(types, rows_hash(connection, query))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{version[:16]}.parquet"
        partial = path.with_suffix(".partial")
        reader = connection.sql(query).to_arrow_reader(ROW_GROUP)
        with reader, pq.ParquetWriter(partial, reader.schema, compression="zstd") as writer:
            rows = 0
            for batch in reader:
                writer.write_batch(batch)
                rows += batch.num_rows
    partial.replace(path)
    return Snapshot(name, path, rows, version, types)


def data_version(warehouse: Warehouse, name: str, selection: Selection | None = None) -> str:
    """The version that a snapshot taken now would have."""
    with warehouse.connect(read_only=True) as connection:
        query = _query(connection, warehouse, Relation.parse(name), selection or Selection())
        return _version(_types(connection, query, name), rows_hash(connection, query))


def read_table(path: Path, name: str | None = None) -> tuple[pa.Table, dict[str, str]]:
    """A .parquet, .csv or .duckdb file as Arrow, with its DuckDB types."""
    if path.suffix in {".duckdb", ".db"}:
        if name is None:
            raise UsageError(f"{path.name!r} is a database: name a table with --table schema.table.")
        with Warehouse(path).connect(read_only=True) as connection:
            query = _query(connection, Warehouse(path), Relation.parse(name), Selection())
            types = _types(connection, query, name)
            return connection.sql(query).to_arrow_table(), types
    if not path.is_file():
        raise SourceError(f"a source must exist, however {str(path)!r} does not. Correct the path.")
    if path.suffix == ".parquet":
        try:
            table = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise SourceError(f"{str(path)!r} must be parquet, however: {error}. Write it again.") from error
        return table, {}
    if path.suffix != ".csv":
        raise UsageError(f"a source must be .parquet, .csv or .duckdb, however: {path.name!r}. Convert it.")
    with duckdb.connect() as connection:
        try:
            relation = connection.read_csv(str(path))
            types = {c: str(t) for c, t in zip(relation.columns, relation.types, strict=True)}
            return relation.to_arrow_table(), types
        except duckdb.Error as error:
            raise SourceError(f"{str(path)!r} must be CSV, however: {error}. Correct it.") from error


def _query(
    connection: duckdb.DuckDBPyConnection, warehouse: Warehouse, relation: Relation, it: Selection
) -> str:
    """The SELECT of a selection, checked name by name before anything runs."""
    known = connection.execute(
        "SELECT table_schema, table_name, column_name FROM information_schema.columns ORDER BY ordinal_position"
    ).fetchall()
    have = [column for schema, table, column in known if (schema, table) == (relation.schema, relation.name)]
    if not have:
        tables = sorted({f"{schema}.{table}" for schema, table, _ in known})
        raise SourceError(
            f"table {str(relation)!r} must be in {str(warehouse.path)!r}, however it is not there. "
            f"{_did_you_mean(str(relation), tables)}"
        )
    for column in it.columns or ():
        if column not in have:
            raise SourceError(
                f"table {str(relation)!r} must have the column {column!r}, however it has not. "
                f"{_did_you_mean(column, have)}"
            )
    columns = ", ".join(identifier(c) for c in it.columns or have)
    query = f"SELECT {columns} FROM {relation.sql}"  # noqa: S608 - identifiers are quoted
    if it.where:
        query += f" WHERE ({_filter(connection, query, it.where)})"
    if it.limit:
        query = f"SELECT * FROM ({query}) t ORDER BY hash(t) LIMIT {int(it.limit)}"  # noqa: S608
    return query


def _filter(connection: duckdb.DuckDBPyConnection, query: str, where: str) -> str:
    """The filter, if it is one expression that this table understands."""
    try:
        statements = duckdb.extract_statements(f"{query} WHERE (\n{where}\n)")
        if len(statements) != 1:
            raise UsageError(f"a filter must be one SQL expression, however: {where!r}. Remove the ';'.")
        connection.execute(f"{query} WHERE (\n{where}\n) LIMIT 0").fetchall()
    except duckdb.Error as error:
        raise UsageError(f"a filter must be a SQL expression, however: {where!r}: {error}") from error
    return f"\n{where}\n"


def _types(connection: duckdb.DuckDBPyConnection, query: str, name: str) -> dict[str, str]:
    described = connection.execute(f"DESCRIBE {query}").fetchall()
    types = {row[0]: row[1] for row in described}
    for column, kind in types.items():
        if kind == "INTERVAL":
            raise SourceError(
                f"table {name!r}, column {column!r}: type INTERVAL cannot be learned. "
                "Cast it to a number of seconds in a view, or leave it out with `columns`."
            )
    return types


def _version(types: Mapping[str, str], rows: str) -> str:
    return hashlib.sha256(json.dumps([dict(types), rows]).encode()).hexdigest()


def _did_you_mean(name: str, candidates: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, candidates, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(map(repr, near))}?"
    return f"There are: {', '.join(map(repr, candidates[:10])) or 'none'}."
