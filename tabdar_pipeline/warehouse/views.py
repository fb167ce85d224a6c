"""The views that consumers read: the rows of one release, or of one release a partition."""

from dataclasses import dataclass

from tabdar_pipeline.warehouse.catalog import column_comments
from tabdar_pipeline.warehouse.duckdb import Connection
from tabdar_pipeline.warehouse.names import Relation, identifier, literal


@dataclass(frozen=True, slots=True)
class View:
    """Which tables a view serves, and what the warehouse says of it.

    Columns go together by name. One that a table lacks is NULL in its rows; where types differ from one release to
    the next, the column has the type that holds both.
    """

    relation: Relation
    tables: tuple[Relation, ...]
    about: str

    @property
    def query(self) -> str:
        """The rows that it serves."""
        return " UNION ALL BY NAME ".join(f"SELECT * FROM {table.sql}" for table in self.tables)


def point(connection: Connection, view: View) -> None:
    """Let the view serve the rows of its tables, and say what it serves, and of its columns what the tables say."""
    connection.execute(f"CREATE OR REPLACE VIEW {view.relation.sql} AS {view.query}")
    connection.execute(f"COMMENT ON VIEW {view.relation.sql} IS {literal(view.about)}")
    said: dict[str, str] = {}
    for table in view.tables:
        said = column_comments(connection, table) | said
    for name, about in said.items():
        connection.execute(f"COMMENT ON COLUMN {view.relation.sql}.{identifier(name)} IS {literal(about)}")
