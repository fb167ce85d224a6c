"""The format of the record of releases, tabdar.releases, and of those that earlier versions made."""

from tabdar_pipeline.errors import StorageError
from tabdar_pipeline.warehouse.duckdb import Connection

_FIRST = (
    "target, number, relation, created, row_count, rows_hash, served, manifest, manifest_hash, copy, retired"
)
COLUMNS = f"{_FIRST}, partition"
_TABLE = """
CREATE SCHEMA IF NOT EXISTS tabdar;
CREATE TABLE IF NOT EXISTS tabdar.releases (
    target VARCHAR NOT NULL, number INTEGER NOT NULL, relation VARCHAR NOT NULL,
    created TIMESTAMP NOT NULL, row_count BIGINT NOT NULL, rows_hash VARCHAR NOT NULL,
    served BOOLEAN NOT NULL, manifest VARCHAR NOT NULL, manifest_hash VARCHAR NOT NULL,
    copy VARCHAR, retired TIMESTAMP, partition VARCHAR, PRIMARY KEY (target, number)
);
"""
_COMMENT = "COMMENT ON TABLE tabdar.releases IS 'Releases of synthetic tables, by tabdar_pipeline; times UTC'"
_FROM_FIRST = "ALTER TABLE tabdar.releases ADD COLUMN partition VARCHAR"


def readable(connection: Connection) -> str | None:
    """The columns of a release as this version reads them; None where nothing was ever recorded.

    A record of the first format has no partitions. Raises StorageError where another version made it otherwise.
    """
    found = _columns(connection)
    if found == _FIRST:
        return f"{_FIRST}, NULL AS partition"
    if found not in {"", COLUMNS}:
        raise StorageError(
            f"table 'tabdar.releases' must have the columns {COLUMNS}, however it has {found}: another "
            "version of tabdar_pipeline made it. Use that version, or rename the table."
        )
    return COLUMNS if found else None


def make_writable(connection: Connection) -> None:
    """Make the table, or bring one of the first format to this one, within the transaction that writes to it."""
    readable(connection)
    found = _columns(connection)
    if not found:
        connection.execute(_TABLE)
        connection.execute(_COMMENT)
    elif found == _FIRST:
        connection.execute(_FROM_FIRST)


def _columns(connection: Connection) -> str:
    rows = connection.execute(
        "SELECT column_name FROM duckdb_columns() WHERE database_name = current_database() "
        "AND schema_name = 'tabdar' AND table_name = 'releases' ORDER BY column_index"
    ).fetchall()
    return ", ".join(name for (name,) in rows)
