"""What a person does with releases, as a Dagster job: verify, serve again, promote, retire."""

from collections.abc import Callable
from typing import Literal

import dagster as dg
from pydantic import Field

from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.assets.resources import WarehouseResource
from tabdar_pipeline.errors import StorageError, UsageError
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.promotion import promote
from tabdar_pipeline.warehouse.publish import retire, rollback, serving, verify, withdraw

STEWARD_TAG = "tabdar/steward"  # of a run: the release that a person looks after; it makes none


class Stewardship(dg.Config):
    """What is to be done, with which release."""

    action: Literal["verify", "rollback", "promote", "retire", "withdraw"] = Field(
        default="verify", description="As `tabdar release` does."
    )
    number: int | None = Field(
        default=None, description="The release; the one served where verify or promote has none."
    )
    partition: str | None = Field(
        default=None,
        description="The partition, where the table has them: its served release, or what to withdraw.",
    )
    who: str = Field(default="", description="Who promotes; recorded.")
    why: str = Field(default="", description="The reason of a promotion; recorded.")


def stewarding_job(plan: Plan, release: dg.AssetKey, group: str) -> dg.JobDefinition:
    """One job a table; what came of it is an observation of its release."""

    @dg.op(name=f"steward_{group}_release", pool="duckdb")
    def steward(context: dg.OpExecutionContext, config: Stewardship, warehouse: WarehouseResource) -> None:
        said = _ACTIONS[config.action](warehouse.at(plan.database), plan.target, config)
        context.log.info(said)
        served = ", ".join(it.label for it in serving(warehouse.at(plan.database), plan.target))
        facts = {"action": config.action, "outcome": said, "served": served}
        context.log_event(dg.AssetObservation(release, partition=config.partition, metadata=facts))

    @dg.job(
        name=f"steward_{group}",
        description=f"Verify, roll back, promote, retire or withdraw a release of {plan.target}.",
        tags={STEWARD_TAG: plan.target},
    )
    def job() -> None:
        steward()

    return job


def _verify(warehouse: Warehouse, target: str, asked: Stewardship) -> str:
    numbers: list[int | None] = [asked.number]
    if asked.number is None:
        numbers = [it.number for it in serving(warehouse, target, asked.partition)]
    labels = []
    for number in numbers:
        found = verify(warehouse, target, number)
        if not found:
            raise StorageError(
                f"release {found.release.identifier!r} must be as it was published, however: "
                f"{'; '.join(found.problems)}. Serve another: action rollback."
            )
        labels.append(found.release.label)
    return f"{', '.join(labels)} is as it was published"


def _rollback(warehouse: Warehouse, target: str, asked: Stewardship) -> str:
    return f"{rollback(warehouse, target, _number(asked)).label} is served"


def _promote(warehouse: Warehouse, target: str, asked: Stewardship) -> str:
    made = promote(warehouse, target, asked.number, asked.who, asked.why, asked.partition)
    return f"{made.target} r{made.number:04d} is promoted by {made.who}: {made.why}"


def _retire(warehouse: Warehouse, target: str, asked: Stewardship) -> str:
    return f"{retire(warehouse, target, _number(asked)).identifier} is retired"


def _withdraw(warehouse: Warehouse, target: str, asked: Stewardship) -> str:
    if asked.partition is None:
        raise UsageError("withdraw must have a partition, however it has none. Give `partition`.")
    return f"{withdraw(warehouse, target, asked.partition).label} is not served any more"


def _number(asked: Stewardship) -> int:
    if asked.number is None:
        raise UsageError(
            f"{asked.action} must have the number of a release, however it has none. Give `number`."
        )
    return asked.number


_ACTIONS: dict[str, Callable[[Warehouse, str, Stewardship], str]] = {
    "verify": _verify,
    "rollback": _rollback,
    "promote": _promote,
    "retire": _retire,
    "withdraw": _withdraw,
}
