"""Promotion: a person approves a release, and consumers of the second view read that one until they approve another.

<schema>.<table>             a view of the release that is served: the last that the gate accepted
<schema>.<table>__promoted   a view of the release that a person approved last, of each partition
tabdar.promotions            one row an approval: who, when, why
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from tabdar_pipeline.errors import SourceError, UsageError
from tabdar_pipeline.warehouse.clashes import refuse_clash
from tabdar_pipeline.warehouse.duckdb import Connection, Warehouse
from tabdar_pipeline.warehouse.names import Relation
from tabdar_pipeline.warehouse.releases import Release, in_order, kind, one_of, recorded, refuse_retired
from tabdar_pipeline.warehouse.views import View, point

STAGE = "promoted"
_TABLE = """
CREATE TABLE IF NOT EXISTS tabdar.promotions (
    target VARCHAR NOT NULL, number INTEGER NOT NULL, promoted TIMESTAMP NOT NULL,
    who VARCHAR NOT NULL, why VARCHAR NOT NULL
);
COMMENT ON TABLE tabdar.promotions IS 'Approvals of releases by persons, by tabdar_pipeline; times UTC';
"""


@dataclass(frozen=True, slots=True)
class Promotion:
    """A person's approval of a release."""

    target: str
    number: int
    promoted: datetime  # UTC
    who: str
    why: str


def promote(
    warehouse: Warehouse, target: str, number: int | None, who: str, why: str, partition: str | None = None
) -> Promotion:
    """Point the view of approved rows at a release, and record who did and why; one transaction.

    Where there are partitions, the releases that were approved of the others stay in the view.

    Raises UsageError where who or why is empty, SourceError where the release is gone or the view's name is taken.
    """
    for word, text in (("who", who), ("why", why)):
        if not text.strip():
            raise UsageError(f"a promotion must say {word}, however it is empty. Say it: it is recorded.")

    def attempt(connection: Connection) -> Promotion:
        release = one_of(recorded(connection, target), target, number, partition)
        refuse_retired(release)
        refuse_clash(connection, release, _approved(connection, release.target))
        made = Promotion(release.target, release.number, datetime.now(UTC), who.strip(), why.strip())
        earlier = promotions_of(connection, release.target)
        if not earlier:
            _refuse_taken(connection, release)
        _record(connection, made)
        view = promoted_view(connection, release.target)
        assert view is not None
        point(connection, view)
        return made

    return warehouse.transact(attempt)


def promotions(warehouse: Warehouse, target: str) -> list[Promotion]:
    """All approvals of a target's releases, newest first."""
    with warehouse.connect(read_only=True) as connection:
        found = recorded(connection, target)
        return promotions_of(connection, found[0].target) if found else []


def promotions_of(connection: Connection, target: str) -> list[Promotion]:
    """The same over an open connection, by the target's name as it is recorded."""
    there = connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() "
        "AND schema_name = 'tabdar' AND table_name = 'promotions'"
    ).fetchall()
    if not there:
        return []
    rows = connection.execute(
        "SELECT target, number, promoted, who, why FROM tabdar.promotions WHERE target = ? "
        "ORDER BY rowid DESC",  # rows are only added; a clock may go back
        [target],
    ).fetchall()
    return [Promotion(name, number, when.replace(tzinfo=UTC), *said) for name, number, when, *said in rows]


def promoted(connection: Connection, target: str) -> dict[int, Promotion]:
    """The approval that holds of each partition, or of the target, by the number of its release."""
    partitions = {it.number: it.partition for it in recorded(connection, target)}
    newest: dict[str | None, Promotion] = {}
    for it in promotions_of(connection, target):
        newest.setdefault(partitions[it.number], it)
    return {it.number: it for it in newest.values()}


def refuse_promoted(connection: Connection, release: Release) -> None:
    """Raise SourceError where the release is one that a person approved."""
    now = promoted(connection, release.target).get(release.number)
    if now is not None:
        raise SourceError(
            f"release {release.identifier!r} must not be promoted to be retired, however {now.who!r} did "
            f"{now.promoted:%Y-%m-%d %H:%M} UTC. Promote another first: tabdar release promote."
        )


def _refuse_taken(connection: Connection, release: Release) -> None:
    view = Relation.parse(release.target).beside(STAGE)
    taken = connection.execute(
        "SELECT 1 FROM information_schema.tables WHERE table_catalog = current_database() "
        "AND lower(table_schema) = lower(?) AND lower(table_name) = lower(?)",
        [view.schema, view.name],
    ).fetchall()
    if taken:
        raise SourceError(
            f"{str(view)!r} must be free for the view of promoted rows, however it is there, and tabdar did not "
            "make it. Rename it."
        )


def _record(connection: Connection, it: Promotion) -> None:
    connection.execute(_TABLE)
    connection.execute(
        "INSERT INTO tabdar.promotions (target, number, promoted, who, why) VALUES (?, ?, ?, ?, ?)",
        [it.target, it.number, it.promoted.replace(tzinfo=None), it.who, it.why],
    )


def promoted_view(connection: Connection, target: str) -> View | None:
    """The view of approved rows, and what the warehouse says about it; None where nothing was approved."""
    now, approved = promoted(connection, target), _approved(connection, target)
    if not approved:
        return None
    said = "; ".join(_about(it, now[it.number]) for it in approved)
    tables = tuple(Relation.parse(it.relation) for it in approved)
    name = Relation.parse(approved[0].target).beside(STAGE)
    return View(name, tables, f"{kind(approved[0])}: {said}")


def _approved(connection: Connection, target: str) -> list[Release]:
    now = promoted(connection, target)
    return in_order([it for it in recorded(connection, target) if it.number in now])


def _about(release: Release, it: Promotion) -> str:
    part = "" if release.partition is None else f" ({release.partition})"
    return f"release {release.number}{part}, promoted {it.promoted:%Y-%m-%d %H:%M} UTC by {it.who}: {it.why}"
