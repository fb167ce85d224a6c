"""The views that consumers read: the rows of one release, or of one release a partition."""

from collections.abc import Sequence

from tabdar_pipeline.warehouse.duckdb import Connection
from tabdar_pipeline.warehouse.names import Relation, literal


def point(connection: Connection, view: Relation, tables: Sequence[Relation], about: str | None) -> None:
    """Let the view serve the rows of these tables, and say what it serves.

    Columns go together by name. One that a table lacks is NULL in its rows; where types differ from one release to
    the next, the column has the type that holds both.
    """
    rows = " UNION ALL BY NAME ".join(f"SELECT * FROM {table.sql}" for table in tables)
    connection.execute(f"CREATE OR REPLACE VIEW {view.sql} AS {rows}")
    if about is not None:
        connection.execute(f"COMMENT ON VIEW {view.sql} IS {literal(about)}")
