"""What a target serves, and how a person changes it: back to another release, or without a partition."""

from tabdar_pipeline.errors import SourceError
from tabdar_pipeline.warehouse.clashes import refuse_clash
from tabdar_pipeline.warehouse.duckdb import Connection, Warehouse
from tabdar_pipeline.warehouse.releases import (
    Release,
    find,
    one_of,
    point_at_served,
    recorded,
    refuse_retired,
    releases,
    serve,
)


def serving(warehouse: Warehouse, target: str, partition: str | None = None) -> list[Release]:
    """The releases that the view of a target serves: one, or one a partition, or that of a partition."""
    found = [it for it in releases(warehouse, target) if it.served and partition in {None, it.partition}]
    return found or [find(warehouse, target, None, partition)]  # which says that there is none


def rollback(
    warehouse: Warehouse, target: str, number: int | None = None, partition: str | None = None
) -> Release:
    """Serve a release again, in one transaction; other partitions stay as they are.

    Without a number it is the newest before the one that is served, of those that have their rows.
    """

    def serve_again(connection: Connection) -> Release:
        found = recorded(connection, target)
        release = (
            _before(found, target, partition) if number is None else one_of(found, target, number, partition)
        )
        refuse_retired(release)
        refuse_clash(connection, release, [it for it in found if it.served])
        serve(connection, release)
        return one_of(recorded(connection, target), target, release.number)

    return warehouse.transact(serve_again)


def _before(found: list[Release], target: str, partition: str | None) -> Release:
    """The newest release before the one that is served, of its partition."""
    served = one_of(found, target, None, partition)
    of_it = [it for it in found if it.partition == served.partition and not it.retired]
    older = [it for it in of_it if it.number < served.number]
    if not older:
        raise SourceError(
            f"release {served.identifier!r} must have one before it to be rolled back, however there is none whose rows "
            "are kept. Name a later release, or publish another."
        )
    return older[0]


def withdraw(warehouse: Warehouse, target: str, partition: str) -> Release:
    """Serve a partition no longer, in one transaction; its releases stay, and `rollback` serves one again."""

    def leave_out(connection: Connection) -> Release:
        found = recorded(connection, target)
        release = one_of(found, target, None, partition)
        if sum(it.served for it in found) == 1:
            raise SourceError(
                f"target {release.target!r} must serve a partition, however {partition!r} is the only one. "
                "Publish another first."
            )
        connection.execute(
            "UPDATE tabdar.releases SET served = false WHERE target = ? AND number = ?",
            [release.target, release.number],
        )
        point_at_served(connection, release.target)
        return one_of(recorded(connection, target), target, release.number)

    return warehouse.transact(leave_out)
