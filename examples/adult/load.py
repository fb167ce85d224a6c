"""Load UCI Adult from a parquet or CSV file into DuckDB: python load.py SOURCE DATABASE."""

import sys
from pathlib import Path

import duckdb


def load(source: Path, database: Path) -> int:
    """Make census.adult anew; the number of its rows."""
    reader = "read_parquet" if source.suffix == ".parquet" else "read_csv"
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS census")
        connection.execute(
            f"CREATE OR REPLACE TABLE census.adult AS SELECT COLUMNS(c -> NOT starts_with(c, '__')) FROM {reader}(?)",
            [str(source)],
        )
        return connection.execute("SELECT count(*) FROM census.adult").fetchall()[0][0]


if __name__ == "__main__":
    print(f"{load(Path(sys.argv[1]), Path(sys.argv[2])):,} rows in census.adult")
