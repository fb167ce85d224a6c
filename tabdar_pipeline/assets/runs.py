"""Runs that work on one table, as Dagster knows them: whoever requested them, by job, by asset or by partition."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from tabdar_pipeline.release.refresh import Way

TARGET_TAG = "tabdar/target"  # of a run: the release that it is for
TARGETS_TAG = "tabdar/targets"  # of a run for several tables: their releases, as JSON
MARK_TAG = "tabdar/mark"  # of a run that a sensor requests: the mark of what is new
LOST = timedelta(
    days=1
)  # a run that has not ended, and has logged nothing since, was killed and nobody told Dagster
ATTEMPTS = len(Way) - 1  # for one mark: where the gate refuses, sample is followed by warm, and that by fit
LOOKED_AT = 500  # runs of the instance, the newest, in which one after a request is looked for
_PARTITION_TAG = "dagster/partition"
_MARK_LENGTH = 63
_ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
_UNFINISHED = [status for status in dg.DagsterRunStatus if status not in _ENDED]


def unfinished(instance: dg.DagsterInstance, **which: Any) -> list[dg.DagsterRun]:
    """The runs that wait or go on, of those that Dagster's filter names; none that was lost."""
    records = instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED, **which))
    return [it.dagster_run for it in records if not _is_lost(instance, it)]


def _is_lost(instance: dg.DagsterInstance, run: dg.RunRecord) -> bool:
    """Whether it has said nothing for so long: a training says how far it is; one in the queue is waited for."""
    if run.dagster_run.status is dg.DagsterRunStatus.QUEUED:
        return False
    said = instance.get_records_for_run(run.dagster_run.run_id, limit=1, ascending=False).records
    last = said[0].timestamp if said else run.create_timestamp.timestamp()
    return last < (datetime.now(UTC) - LOST).timestamp()


def marked(mark: str) -> dict[str, str]:
    """The tag of a run that is requested for a mark."""
    return {MARK_TAG: mark[:_MARK_LENGTH]}


@dataclass(frozen=True, slots=True)
class Failed:
    """A run that failed, and how many were requested for the same mark."""

    run: str
    requested: int


@dataclass(frozen=True, slots=True)
class TableRuns:
    """The runs that make a table's assets."""

    target: str
    assets: frozenset[dg.AssetKey]

    def busy(self, instance: dg.DagsterInstance) -> str | None:
        """The id of one that waits or goes on; None where there is none."""
        return self.first_of(unfinished(instance))

    def first_of(self, runs: Iterable[dg.DagsterRun]) -> str | None:
        """The id of the first of some runs that makes these assets; None where none does."""
        return next((run.run_id for run in runs if self._has(run)), None)

    def failed(self, instance: dg.DagsterInstance, mark: str) -> Failed | None:
        """The newest run since the last one that was requested for a mark, where it failed; of partitions, any."""
        tags = {TARGET_TAG: self.target, **marked(mark)}
        asked = instance.get_run_records(dg.RunsFilter(tags=tags), limit=ATTEMPTS)
        if not asked:
            return None
        newest: dict[str | None, dg.DagsterRun] = {}
        for run in self._since(instance, asked[0]):
            newest.setdefault(run.tags.get(_PARTITION_TAG), run)
        failures = (run for run in newest.values() if run.status is dg.DagsterRunStatus.FAILURE)
        return next((Failed(run.run_id, len(asked)) for run in failures), None)

    def _since(self, instance: dg.DagsterInstance, first: dg.RunRecord) -> Iterator[dg.DagsterRun]:
        """A run and those after it, the newest first."""
        for run in instance.get_runs(dg.RunsFilter(created_after=first.create_timestamp), limit=LOOKED_AT):
            if self._has(run) and run.run_id != first.dagster_run.run_id:
                yield run
        yield first.dagster_run

    def _has(self, run: dg.DagsterRun) -> bool:
        if run.asset_selection is not None:
            return not self.assets.isdisjoint(run.asset_selection)
        targets = json.loads(run.tags.get(TARGETS_TAG, "[]"))
        return self.target in (run.tags.get(TARGET_TAG), *targets)
