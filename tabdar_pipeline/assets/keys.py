"""Partitions as Dagster knows them: their keys, the plan of the one that is run, and which are to be run next."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.schemas.partitions import Partitioning

DUE = "partitions_due"  # metadata: which partitions are to be released anew
_BACKFILL = "dagster/backfill"


def definition(it: Partitioning) -> "dg.PartitionsDefinition[str]":
    """Listed values, or windows of time that have ended."""
    if it.every is None:
        return dg.StaticPartitionsDefinition([*it.values])
    start = dt.datetime.combine(it.start, dt.time())
    if it.every == "day":
        return dg.DailyPartitionsDefinition(start)
    if it.every == "month":
        return dg.MonthlyPartitionsDefinition(start)
    return dg.WeeklyPartitionsDefinition(start, day_offset=it.start.isoweekday() % 7)  # Sunday is 0


def plan_of(plan: Plan, asset: dg.AssetSpec, context: dg.AssetExecutionContext) -> Plan:
    """The plan of the partition that a step is run for, or of the table."""
    return plan if asset.partitions_def is None else plan.of(context.partition_key)


def shared(plan: Plan, asset: dg.AssetSpec) -> Sequence[str]:
    """The partitions for which an asset without any works; none where it has them, or the table has none."""
    if plan.partitions is None or asset.partitions_def is not None:
        return ()
    return definition(plan.partitions).get_partition_keys()


def continuing(
    name: str, learned: dg.AssetKey, told: dg.AssetKey, job: Any, about: str
) -> dg.SensorDefinition:
    """Request a run for each partition that is due, when what they share is there; in a backfill, Dagster does.

    `learned` is the last step that they share; the metadata of `told` says which are due.
    """

    @dg.asset_sensor(
        asset_key=learned,
        name=name,
        job=job,
        description=about,
        default_status=dg.DefaultSensorStatus.RUNNING,  # it does nothing unless a refresh ran
    )
    def continues(
        context: dg.SensorEvaluationContext, event: dg.EventLogEntry
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        run = context.instance.get_run_by_id(event.run_id)
        if run is not None and _BACKFILL in run.tags:
            yield dg.SkipReason("The backfill that made it requests its own partitions.")
            return
        keys = _due(context.instance.get_latest_materialization_event(told))
        if not keys:
            yield dg.SkipReason("Every partition has a release of what its rows are now.")
        for key in keys:
            yield dg.RunRequest(run_key=f"{event.run_id}:{key}", partition_key=key)

    return continues


def _due(event: dg.EventLogEntry | None) -> Sequence[str]:
    found: Mapping[str, Any] = (
        {} if event is None or event.asset_materialization is None else event.asset_materialization.metadata
    )
    return found[DUE].value if DUE in found else ()
