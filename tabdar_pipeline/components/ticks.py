"""What a tick of a schedule or a sensor answers: a run, or why there is none."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from tabdar_pipeline.assets.news import News
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.assets.resources import WarehouseResource
from tabdar_pipeline.assets.runs import ATTEMPTS, TableRuns, marked
from tabdar_pipeline.assets.synthetic import Names
from tabdar_pipeline.errors import TabdarError, WarehouseLocked
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.watermark import By, mark

NEWS_TAG = "tabdar/news"  # of a run that a schedule requests: why
LOOK_S = 20.0  # that a tick waits for a lock: Dagster gives up on one after a minute
Answer = dg.RunRequest | dg.SkipReason


@dataclass(frozen=True, slots=True)
class Subject:
    """The table that ticks look at, the job that they request, and the runs that it must not meet."""

    plan: Plan
    job: Any
    runs: TableRuns
    look: Callable[[Warehouse], News]

    @property
    def warehouse(self) -> Warehouse:
        """Its database, for which a tick waits less than a run does."""
        return replace(WarehouseResource().at(self.plan.database), wait_s=LOOK_S)

    def found(self) -> News:
        """What is new; an error is news too, which the run meets as well: its failure alarms whom it must."""
        try:
            return self.look(self.warehouse)
        except WarehouseLocked:
            raise
        except TabdarError as error:
            return News(True, str(error))


def scheduled(it: Subject, cron: str, timezone: str) -> dg.ScheduleDefinition:
    """Request the job where a tick finds something new."""
    plan = it.plan

    @dg.schedule(
        name=f"{it.job.name}_schedule",
        job=it.job,
        cron_schedule=cron,
        execution_timezone=timezone,
        description=f"Refresh {plan.target} where {plan.table} has something new.",
    )
    def refresh(context: dg.ScheduleEvaluationContext) -> Answer:
        if busy := it.runs.busy(context.instance):
            return dg.SkipReason(f"Run {busy} of {plan.target} is in progress. Cancel it if it hangs.")
        try:
            found = it.found()
        except WarehouseLocked as error:
            return _locked(plan, error)
        return dg.RunRequest(tags={NEWS_TAG: found.why}) if found.due else dg.SkipReason(found.why)

    return refresh


def watching(it: Subject, by: By, column: str | None, every: int) -> dg.SensorDefinition:
    """Request the job when the source's mark is another than at the last look, or the run for it failed."""
    plan = it.plan

    @dg.sensor(
        name=f"changes_of_{Names.of(plan).group}",
        job=it.job,
        minimum_interval_seconds=every,
        description=f"Refresh {plan.target} when {plan.table} changes.",
    )
    def changes(context: dg.SensorEvaluationContext) -> Answer:
        try:
            now = mark(it.warehouse, plan.table, plan.selection, by, column)
        except WarehouseLocked as error:
            return _locked(plan, error)
        new = f"{plan.table} has something new: its {by} is {now}."
        if now == context.cursor:
            failed = it.runs.failed(context.instance, now)
            old = f"Nothing new in {plan.table}: its {by} is {now} as before."
            if failed is None:
                return dg.SkipReason(old)
            if failed.requested >= ATTEMPTS:
                return dg.SkipReason(
                    f"{old} Run {failed.run} failed, and {failed.requested} were requested for it. Mend what that run says, "
                    f"and launch {it.job.name}."
                )
            new = f"{plan.table} is as it was when run {failed.run} failed."
        if busy := it.runs.busy(context.instance):
            return dg.SkipReason(
                f"{new} Run {busy} of {plan.target} has not ended; the next look after it requests another."
            )
        context.update_cursor(now)
        return dg.RunRequest(tags=marked(now))

    return changes


def _locked(plan: Plan, error: WarehouseLocked) -> dg.SkipReason:
    return dg.SkipReason(f"{plan.table} could not be looked at, and will be again: {error}")
