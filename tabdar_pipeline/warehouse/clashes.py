"""Keys of partitions: the view serves them together, so no two partitions may have the same one."""

from collections.abc import Sequence
from dataclasses import dataclass

from tabdar_pipeline.warehouse.catalog import types_of
from tabdar_pipeline.warehouse.duckdb import Connection
from tabdar_pipeline.warehouse.names import Relation, identifier
from tabdar_pipeline.warehouse.releases import Release, recorded


@dataclass(frozen=True, slots=True)
class Clash:
    """A column in which rows have a key that a served release has."""

    column: str
    release: Release


def first_clash(
    connection: Connection, target: str, partition: str | None, rows: str, columns: Sequence[str]
) -> Clash | None:
    """Whether rows (a query) of one partition have a key that the served release of another one has.

    Keys are compared as text: the type of a column may have changed from one release to the next.
    """
    others = [it for it in recorded(connection, target) if it.served and it.partition != partition]
    for it in others if columns else ():
        table = Relation.parse(it.relation)
        have = types_of(connection, f"SELECT * FROM {table.sql}")
        for column in columns:
            name = identifier(column)
            if (
                column in have
                and connection.execute(
                    f"SELECT 1 FROM ({rows}) AS fresh SEMI JOIN {table.sql} AS served "
                    f"ON fresh.{name}::VARCHAR = served.{name}::VARCHAR LIMIT 1"
                ).fetchall()
            ):
                return Clash(column, it)
    return None
