"""What a person does with releases, as a Dagster job: all that `tabdar release` does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from tabdar_pipeline.assets import inspection, retiring
from tabdar_pipeline.assets.exporting import hand_on
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.assets.resources import WarehouseResource
from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.warehouse.comparison import compare
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.promotion import promote
from tabdar_pipeline.warehouse.publish import releases, rollback, withdraw
from tabdar_pipeline.warehouse.stages import staged, staged_one

STEWARD_TAG = "tabdar/steward"  # of a run: the release that a person looks after; it makes none


class Stewardship(dg.Config):
    """What is to be done, with which release."""

    action: Literal[
        "list",
        "show",
        "verify",
        "reproduce",
        "diff",
        "rollback",
        "promote",
        "retire",
        "withdraw",
        "export",
    ] = Field(default="verify", description="As `tabdar release` does.")
    number: int | None = Field(
        default=None,
        description="The release, or the later one of a diff; the one served where none is given, and for rollback the one "
        "before it.",
    )
    before: int | None = Field(default=None, description="The earlier release of a diff.")
    partition: str | None = Field(
        default=None,
        description="The partition, where the table has them: its served release, or what to withdraw.",
    )
    who: str = Field(default="", description="Who promotes; recorded.")
    why: str = Field(default="", description="The reason of a promotion; recorded.")
    folder: str = Field(default="", description="Where export writes: a new folder.")


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an action: a sentence, and what it found."""

    outcome: str
    result: Any = None  # plain values


def stewarding_job(plan: Plan, release: dg.AssetKey, group: str) -> dg.JobDefinition:
    """One job a table; what came of it is an observation of its release."""

    @dg.op(name=f"steward_{group}_release", pool="duckdb")
    def steward(context: dg.OpExecutionContext, config: Stewardship, warehouse: WarehouseResource) -> None:
        at = warehouse.at(plan.database)
        done = _ACTIONS[config.action](at, plan, config)
        context.log.info(done.outcome)
        served = ", ".join(it.label for it in reversed(releases(at, plan.target)) if it.served)
        facts: dict[str, Any] = {"action": config.action, "outcome": done.outcome, "served": served}
        if done.result is not None:
            facts["result"] = dg.MetadataValue.json(done.result)
        context.log_event(dg.AssetObservation(release, partition=config.partition, metadata=facts))

    @dg.job(
        name=f"steward_{group}",
        description=f"List, show, verify, reproduce, compare, roll back, promote, retire, withdraw or export releases of "
        f"{plan.target}.",
        tags={STEWARD_TAG: plan.target},
    )
    def job() -> None:
        steward()

    return job


def _list(warehouse: Warehouse, plan: Plan, asked: Stewardship) -> Done:
    found = [it.to_json() for it in staged(warehouse, plan.target, asked.partition)]
    rows = [{name: value for name, value in it.items() if name != "manifest"} for it in found]
    return Done(f"{plan.target} has {len(rows)} releases", rows)


def _show(warehouse: Warehouse, plan: Plan, asked: Stewardship) -> Done:
    found = staged_one(warehouse, plan.target, asked.number, asked.partition)
    return Done(f"{found.release.label} is {found.stage}", found.to_json())


def _verify(warehouse: Warehouse, plan: Plan, asked: Stewardship) -> Done:
    found = inspection.inspect(warehouse, plan.target, plan.storage, asked.number, asked.partition)
    return Done(f"{', '.join(it.label for it in found)} is as it was published")


def _reproduce(warehouse: Warehouse, plan: Plan, asked: Stewardship) -> Done:
    found = inspection.redraw(warehouse, plan.target, plan.storage, asked.number, asked.partition)
    return Done(f"{found.label}: {found.row_count:,} rows, each as it was published")


def _diff(warehouse: Warehouse, plan: Plan, asked: Stewardship) -> Done:
    before, after = _needed("before", asked.before), _needed("number", asked.number)
    found = compare(warehouse, plan.target, before, after)
    outcome = f"{len(found.differences)} facts differ between {found.before.identifier} and {found.after.identifier}"
    return Done(outcome, found.to_json())


def _rollback(warehouse: Warehouse, plan: Plan, asked: Stewardship) -> Done:
    return Done(f"{rollback(warehouse, plan.target, asked.number, asked.partition).label} is served")


def _promote(warehouse: Warehouse, plan: Plan, asked: Stewardship) -> Done:
    made = promote(warehouse, plan.target, asked.number, asked.who, asked.why, asked.partition)
    return Done(f"{made.target} r{made.number:04d} is promoted by {made.who}: {made.why}")


def _retire(warehouse: Warehouse, plan: Plan, asked: Stewardship) -> Done:
    number = _needed("number", asked.number)
    return Done(f"{retiring.retire(warehouse, plan.target, number, plan.storage).identifier} is retired")


def _withdraw(warehouse: Warehouse, plan: Plan, asked: Stewardship) -> Done:
    if asked.partition is None:
        raise UsageError("withdraw must have a partition, however it has none. Give `partition`.")
    return Done(f"{withdraw(warehouse, plan.target, asked.partition).label} is not served any more")


def _export(warehouse: Warehouse, plan: Plan, asked: Stewardship) -> Done:
    if not asked.folder:
        raise UsageError("export must have a folder, however it has none. Give `folder`.")
    found = hand_on(warehouse, plan.target, Path(asked.folder), asked.number, asked.partition)
    return Done(f"{found.label} is in {asked.folder}", {"folder": asked.folder, "rows": found.row_count})


def _needed(name: str, number: int | None) -> int:
    if number is None:
        raise UsageError(
            f"this action must have the number of a release, however it has none. Give `{name}`."
        )
    return number


_ACTIONS: dict[str, Callable[[Warehouse, Plan, Stewardship], Done]] = {
    "list": _list,
    "show": _show,
    "verify": _verify,
    "reproduce": _reproduce,
    "diff": _diff,
    "rollback": _rollback,
    "promote": _promote,
    "retire": _retire,
    "withdraw": _withdraw,
    "export": _export,
}
