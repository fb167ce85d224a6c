"""Whether a scheduled refresh has anything to do: looked at without a snapshot and without a run."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tabdar_pipeline.assets import refreshing, served, shelf, steps
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.release.refresh import Way
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.warehouse.duckdb import Warehouse
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
    unsettled = _unsettled(plan)
    if unsettled is not None:
        return News(True, unsettled)
    taken = shelf.get(plan.home, "snapshot")
    contract = Contract.read(plan.home / steps.CONTRACT if plan.contract is None else plan.contract).released
    demands = refreshing.standing(plan, warehouse, contract)
    if demands:
        return News(True, demands[0].fact)
    if by == "checksum" and taken["rows"] * len(taken["sql_types"]) > CELLS:
        return News(
            True, f"{taken['rows']:,} rows are too many for a checksum in a tick; watch rows or a watermark"
        )
    now, before = mark(warehouse, plan.table, plan.selection, by, column), _mark(taken, by, column)
    if now != before:
        return News(True, f"{plan.table} has something new: its {by} is {now}, was {before}")
    reasons = "; ".join(shelf.get(plan.home, refreshing.RECORD)["refresh"]["reasons"])
    return News(False, f"Nothing new in {plan.table}: its {by} is {now} as before. The last run: {reasons}")


def _unsettled(plan: Plan) -> str | None:
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
    return None


def _mark(taken: dict[str, Any], by: By, column: str | None) -> str | None:
    """The mark of the last snapshot; None where its file is gone or lacks the column."""
    if by == "checksum":
        return str(taken["data_version"])
    if column is None:
        return str(taken["rows"])
    return mark_of(Path(taken["path"]), column)
