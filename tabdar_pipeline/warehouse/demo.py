"""The demo warehouse: one DuckDB file with crm.customers, made-up people of a known truth (customers.py)."""

from pathlib import Path

import duckdb

from tabdar_pipeline.errors import StorageError, UsageError
from tabdar_pipeline.warehouse.customers import PLANS, REGIONS, customers
from tabdar_pipeline.warehouse.duckdb import Warehouse, fact, storage_error, transaction
from tabdar_pipeline.warehouse.names import Relation, identifier, literal

TABLE = "crm.customers"
ROWS = 20_000

_COLUMNS = {
    "customer_id": ("VARCHAR PRIMARY KEY", "The customer's number"),
    "region": (f"ENUM ({', '.join(map(literal, REGIONS))})", "Where the customer lives"),
    "city": ("VARCHAR", "A town of the region; about 500 in all"),
    "age": ("SMALLINT", "Age in years"),
    "plan": (f"ENUM ({', '.join(map(literal, PLANS))})", "What the customer pays for"),
    "orders": ("INTEGER", "Orders so far"),
    "spend": ("DECIMAL(12, 2)", "Sum of all orders, in euros"),
    "average_order": ("DECIMAL(12, 2)", "spend / orders; NULL without orders"),
    "discount": ("DOUBLE", "Standing discount as a share; mostly 0"),
    "newsletter": ("BOOLEAN", "Whether the customer reads the newsletter"),
    "income": ("DECIMAL(12, 2)", "Stated yearly income in euros; the higher, the more often not stated"),
    "satisfaction": ("TINYINT", "1 to 5; asked less often where there is no newsletter"),
    "signup": ("DATE", "First day as a customer"),
    "last_seen": ("TIMESTAMP", "Last visit, UTC; imported visits are at midnight"),
}


def build_demo(path: Path, rows: int = ROWS, seed: int = 0) -> None:
    """Write the demo warehouse, whole or not at all; the same one that is there already is kept.

    Raises StorageError where the path holds anything else: nothing of a user is overwritten.
    """
    if rows < 1:
        raise UsageError(f"rows must be 1 or more, however: {rows}. Correct them.")
    if path.exists():
        _refuse_other(path, _about(rows, seed))
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        _fill(partial, rows, seed)
        partial.replace(path)
    except (OSError, duckdb.IOException) as error:
        raise storage_error(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _fill(path: Path, rows: int, seed: int) -> None:
    table = Relation.parse(TABLE)
    columns = ", ".join(f"{identifier(name)} {kind}" for name, (kind, _) in _COLUMNS.items())
    connection = duckdb.connect(str(path))
    try:
        with transaction(connection):
            connection.execute(f"CREATE SCHEMA {identifier(table.schema)}")
            connection.execute(f"CREATE TABLE {table.sql} ({columns})")
            connection.register("made_up", customers(rows, seed))
            connection.execute(f"INSERT INTO {table.sql} BY NAME SELECT * FROM made_up")
            connection.execute(f"COMMENT ON TABLE {table.sql} IS {literal(_about(rows, seed))}")
            for name, (_, about) in _COLUMNS.items():
                text = literal(f"{about}. Made up.")
                connection.execute(f"COMMENT ON COLUMN {table.sql}.{identifier(name)} IS {text}")
    finally:
        connection.close()


def _about(rows: int, seed: int) -> str:
    return f"Made-up customers of a made-up shop, no person behind any row: {rows} rows, seed {seed}."


def _refuse_other(path: Path, about: str) -> None:
    """Refuse to touch a file that is not this very demo."""
    with Warehouse(path).connect(read_only=True) as connection:
        table = Relation.parse(TABLE)
        try:
            found = connection.execute(
                "SELECT comment FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?",
                [table.schema, table.name],
            ).fetchall()
        except duckdb.Error as error:  # a database without such a catalog
            found = [(fact(error),)]
    if found != [(about,)]:
        raise StorageError(
            f"{str(path)!r} must be free for the demo warehouse, however it holds something else. "
            "Delete it, or name another path."
        )
