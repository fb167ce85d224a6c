"""A hash of rows that depends on nothing but their values: not on order, storage or DuckDB's version."""

import hashlib
from collections.abc import Generator, Sequence

from tabdar_pipeline.warehouse.duckdb import Connection
from tabdar_pipeline.warehouse.names import identifier

_BATCH = 100_000  # rows


def row_hash(columns: Sequence[str]) -> str:
    """SQL for the SHA-256 of one row: each value as text behind its length, so no two rows share one."""
    cells = (
        f"CASE WHEN {name} IS NULL THEN 'N' ELSE length({name}::VARCHAR) || ':' || {name}::VARCHAR END"
        for name in map(identifier, columns)
    )
    return f"sha256({' || '.join(cells)})"


def row_hashes(connection: Connection, query: str) -> Generator[str]:
    """The hash of each row of a query, in its own order."""
    columns = [row[0] for row in connection.execute(f"DESCRIBE {query}").fetchall()]
    with connection.sql(f"SELECT {row_hash(columns)} FROM ({query})").to_arrow_reader(_BATCH) as reader:
        for batch in reader:
            yield from batch.column(0).to_pylist()


def rows_hash(connection: Connection, query: str) -> str:
    """SHA-256 over the sorted hashes of a query's rows; DuckDB sorts, on disk where memory ends."""
    columns = [row[0] for row in connection.execute(f"DESCRIBE {query}").fetchall()]
    hashes = f"SELECT {row_hash(columns)} AS hash FROM ({query}) ORDER BY hash"
    total = hashlib.sha256()
    with connection.sql(hashes).to_arrow_reader(_BATCH) as reader:
        for batch in reader:
            total.update("".join(batch.column(0).to_pylist()).encode())
    return total.hexdigest()


def ordered_by_content(query: str, columns: Sequence[str], limit: int | None = None) -> str:
    """The query's rows in an order that their values alone decide, and the first `limit` of them.

    A row's place is the hash of its values and of how many equal rows came before it: as good as
    random, so a cap draws a fair sample, and the sample of a smaller cap is the head of a larger one.
    """
    once, twin = _free_names(columns)
    names = ", ".join(map(identifier, columns))
    hashed = f"SELECT {names}, {row_hash(columns)} AS {once} FROM ({query})"
    counted = f"SELECT *, row_number() OVER (PARTITION BY {once}) AS {twin} FROM ({hashed})"
    cap = "" if limit is None else f" LIMIT {int(limit)}"
    return f"SELECT {names} FROM ({counted}) ORDER BY sha256({once} || '/' || {twin}){cap}"


def _free_names(columns: Sequence[str]) -> tuple[str, str]:
    """Two column names that the table does not have."""
    longest = max((len(name) for name in columns), default=0)
    return "h" * (longest + 1), "n" * (longest + 1)
