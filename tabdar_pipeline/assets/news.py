"""Whether a scheduled refresh has anything to do: looked at without a snapshot and without a run."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tabdar_pipeline.assets import filling, keys, partitioned, refreshing, served, shelf, steps
from tabdar_pipeline.assets.filling import FillPlan
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.release.refresh import Way
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import releases
from tabdar_pipeline.warehouse.watermark import By, mark, mark_of

CELLS = 20_000_000  # of which a checksum is taken in a tick: some ten seconds; Dagster gives a tick up after sixty


@dataclass(frozen=True, slots=True)
class News:
    """Whether a run is due, and why, or why not."""

    due: bool
    why: str


def news(plan: Plan, warehouse: Warehouse, by: By = "checksum", column: str | None = None) -> News:
    """What a run would find new, as far as the mark that is watched shows it.

    A run is due where the last one did not come to an end as well, or a setting, the release or a file is another.
    Raises WarehouseLocked, and SourceError where the source cannot be read.
    """
    own_models = plan.partitions is not None and plan.partitions.each
    unsettled = _unlearned(plan) if own_models else _unsettled(plan, warehouse)
    if unsettled is not None:
        return News(True, unsettled)
    looked = _looked(plan, warehouse, by, column)
    if looked.due:
        return looked
    waiting = _waiting(plan, warehouse)
    return looked if waiting is None else News(True, waiting)


def news_to_fill(
    plan: FillPlan, warehouse: Warehouse, by: By = "checksum", column: str | None = None
) -> News:
    """The same of a table whose missing cells are filled; also another model or request makes a run due."""
    unfilled = _unfilled(plan, warehouse)
    return _looked(plan.table, warehouse, by, column) if unfilled is None else News(True, unfilled)


def _looked(plan: Plan, warehouse: Warehouse, by: By, column: str | None) -> News:
    """What the mark says that is watched."""
    taken = shelf.get(plan.home, "snapshot")
    if by == "checksum" and taken["rows"] * len(taken["sql_types"]) > CELLS:
        return News(
            True, f"{taken['rows']:,} rows are too many for a checksum in a tick; watch rows or a watermark"
        )
    now, before = mark(warehouse, plan.table, plan.selection, by, column), _mark(taken, by, column)
    if now != before:
        return News(True, f"{plan.table} has something new: its {by} is {now}, was {before}")
    last = _last(plan, warehouse, taken["data_version"])
    return News(False, f"Nothing new in {plan.table}: its {by} is {now} as before. {last}")


def _last(plan: Plan, warehouse: Warehouse, data_version: str) -> str:
    """What came of the last snapshot."""
    made = [
        it
        for it in releases(warehouse, plan.target)
        if it.manifest.get("source", {}).get("data_version") == data_version
    ]
    if made:
        more = f" and {len(made) - 1} more" if len(made) > 1 else ""
        return f"Of these rows {made[0].label}{more} was released."
    if not (plan.home / f"{refreshing.RECORD}.json").is_file():
        return f"Each partition of {plan.target} has a release of its rows, or needs none."
    reasons = "; ".join(shelf.get(plan.home, refreshing.RECORD)["refresh"]["reasons"])
    return f"The last run released nothing: {reasons}."


def _unsettled(plan: Plan, warehouse: Warehouse) -> str | None:
    """Why the last run is no end that could stand; None where it is one."""
    if Way.SKIP not in plan.refresh.allow:
        return "the policy does not allow to keep the release"
    last, records = (
        served.Served.read(plan.home),
        [plan.home / f"{it}.json" for it in ("snapshot", refreshing.RECORD)],
    )
    if last is None or not all(it.is_file() for it in records):
        return f"nothing was released as {plan.target} yet"
    taken, decided = (shelf.get(plan.home, it.stem) for it in records)
    if decided["data_version"] != taken["data_version"]:
        return "the last run did not decide what is to be done"
    if decided["refresh"]["way"] != Way.SKIP and last.data_version != taken["data_version"]:
        return "the last run did not end in a release"
    if decided.get("policy") != json.loads(json.dumps(asdict(plan.refresh))):
        return "the limits of `refresh` are others than those of the last run"
    return next((it.fact for it in refreshing.standing(plan, warehouse, _contract(plan))), None)


def _unlearned(plan: Plan) -> str | None:
    """Why the last snapshot of a table is none whose partitions could be looked at, each with a model of its own."""
    taken = (plan.home / "snapshot.json").is_file()
    return None if taken else f"nothing was released as {plan.target} yet"


def _waiting(plan: Plan, warehouse: Warehouse) -> str | None:
    """Why a partition is to be released although the source is as it was; a window of time may have ended."""
    if plan.partitions is None:
        return None
    taken, every = shelf.get(plan.home, "snapshot"), keys.definition(plan.partitions).get_partition_keys()
    if taken["rows"] * len(taken["sql_types"]) > CELLS:
        return f"{taken['rows']:,} rows are too many to look at each partition in a tick"
    if not plan.partitions.each:
        return next((it.fact for it in refreshing.waiting(plan, warehouse, every)), None)
    whole, rows = partitioned.whole(plan)
    for key in partitioned.due(plan, warehouse, every).every:
        own = plan.of(key)
        unsettled = _unsettled(own, warehouse)
        if (
            unsettled is None
            and partitioned.version(own, whole, rows) != shelf.get(own.home, "snapshot")["data_version"]
        ):
            unsettled = "its rows are others than those of its last run"
        if unsettled is not None:
            return f"partition {key!r}: {unsettled}"
    return None


def _unfilled(plan: FillPlan, warehouse: Warehouse) -> str | None:
    """Why the last filling is none that could stand; None where it is one."""
    table = plan.table
    published = releases(warehouse, table.target)
    if not published or not (table.home / "snapshot.json").is_file():
        return f"nothing was released as {table.target} yet"
    newest = published[0]  # a person may have gone back to an older one
    facts = filling.made_of(plan, shelf.snapshot(table.home), _contract(table))
    others = [name for name, it in facts.items() if newest.manifest.get(name) != json.loads(json.dumps(it))]
    if others:
        return f"{newest.identifier} is of another {' and '.join(it.replace('_', ' ') for it in others)}"
    return None


def _contract(plan: Plan) -> Contract:
    """What the source must satisfy now: as declared, or as the last run inferred it."""
    return Contract.read(plan.home / steps.CONTRACT if plan.contract is None else plan.contract).released


def _mark(taken: dict[str, Any], by: By, column: str | None) -> str | None:
    """The mark of the last snapshot; None where its file is gone or lacks the column."""
    if by == "checksum":
        return str(taken["data_version"])
    if column is None:
        return str(taken["rows"])
    return mark_of(Path(taken["path"]), column)
