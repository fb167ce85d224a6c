"""The stage of each release: accepted by the gate, or promoted by a person; who did, when and why."""

from dataclasses import asdict, dataclass
from typing import Any

from tabdar_pipeline.warehouse.duckdb import Connection, Warehouse
from tabdar_pipeline.warehouse.promotion import Promotion, promoted, promotions_of
from tabdar_pipeline.warehouse.releases import Release, one_of, recorded

ACCEPTED, PROMOTED = "accepted", "promoted"


@dataclass(frozen=True, slots=True)
class Staged:
    """A release, and what persons said of it."""

    release: Release
    promotion: (
        Promotion | None
    )  # the approval that holds; None where another release was approved since, or none
    approvals: tuple[Promotion, ...]  # all of it, newest first

    @property
    def stage(self) -> str:
        """A candidate that was refused is no release, so there is none of an earlier stage."""
        return ACCEPTED if self.promotion is None else PROMOTED

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        it = self.release
        return asdict(it) | {
            "copy": str(it.copy) if it.copy else None,
            "created": it.created.isoformat(),
            "retired": it.retired.isoformat() if it.retired else None,
            "stage": self.stage,
            "approvals": [asdict(said) | {"promoted": said.promoted.isoformat()} for said in self.approvals],
        }


def staged(warehouse: Warehouse, target: str | None = None, partition: str | None = None) -> list[Staged]:
    """The releases of all targets or of one, or of a partition, newest first."""
    with warehouse.connect(read_only=True) as connection:
        found = [it for it in recorded(connection, target) if partition in {None, it.partition}]
        return _staged(connection, found)


def staged_one(
    warehouse: Warehouse, target: str, number: int | None = None, partition: str | None = None
) -> Staged:
    """One release: of that number, or the one that is served."""
    with warehouse.connect(read_only=True) as connection:
        return _staged(connection, [one_of(recorded(connection, target), target, number, partition)])[0]


def _staged(connection: Connection, found: list[Release]) -> list[Staged]:
    targets = {it.target for it in found}
    now = {target: promoted(connection, target) for target in targets}
    said = {target: promotions_of(connection, target) for target in targets}
    return [
        Staged(it, now[it.target].get(it.number), tuple(p for p in said[it.target] if p.number == it.number))
        for it in found
    ]
