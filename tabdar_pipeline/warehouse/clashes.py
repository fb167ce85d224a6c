"""Keys of partitions: a view serves them together, so no two partitions may have the same one."""

from collections.abc import Sequence
from dataclasses import dataclass

from tabdar_pipeline.errors import SourceError
from tabdar_pipeline.warehouse.catalog import types_of
from tabdar_pipeline.warehouse.duckdb import Connection
from tabdar_pipeline.warehouse.names import Relation, identifier
from tabdar_pipeline.warehouse.releases import Release


@dataclass(frozen=True, slots=True)
class Clash:
    """A column in which rows have a key that a release has."""

    column: str
    release: Release


def first_clash(
    connection: Connection, rows: str, columns: Sequence[str], others: Sequence[Release]
) -> Clash | None:
    """Whether rows (a query) have a key in these columns that another release has.

    Keys are compared as text: the type of a column may have changed from one release to the next.
    """
    for it in others if columns else ():
        table = Relation.parse(it.relation)
        have = types_of(connection, f"SELECT * FROM {table.sql}")
        for column in columns:
            name = identifier(column)
            if (
                column in have
                and connection.execute(
                    f"SELECT 1 FROM ({rows}) AS fresh SEMI JOIN {table.sql} AS other "
                    f"ON fresh.{name}::VARCHAR = other.{name}::VARCHAR LIMIT 1"
                ).fetchall()
            ):
                return Clash(column, it)
    return None


def clash_of(connection: Connection, release: Release, beside: Sequence[Release]) -> Clash | None:
    """Whether a release has a key that one of another partition has, of those that are served beside it."""
    keys = release.manifest.get("partition", {}).get("keys", ())
    others = [it for it in beside if it.partition != release.partition]
    return first_clash(connection, f"SELECT * FROM {Relation.parse(release.relation).sql}", keys, others)


def refuse_clash(connection: Connection, release: Release, beside: Sequence[Release]) -> None:
    """Raise SourceError where a view would have a key twice."""
    clash = clash_of(connection, release, beside)
    if clash is not None:
        raise SourceError(
            f"release {release.label!r} must have keys of its own, however column {clash.column!r} has some of "
            f"{clash.release.label!r}, beside which it would be read. Publish one of the two partitions again."
        )
