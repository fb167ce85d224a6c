"""Tables that foreign keys join, under one schedule: a table is refreshed when those that it refers to have been.

A tick requests the tables that have something new and refer to none that has. Where that run ends, a sensor looks
again, and requests what may follow: with the keys of the release that is served by then.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from tabdar_pipeline.assets.news import News
from tabdar_pipeline.assets.runs import TARGETS_TAG, unfinished
from tabdar_pipeline.assets.synthetic import Names
from tabdar_pipeline.components.ticks import NEWS_TAG, Answer, Subject
from tabdar_pipeline.errors import WarehouseLocked

DONE_TAG = "tabdar/done"  # of a run: the targets that were requested since the tick, as JSON
_ENDS = {"success": dg.DagsterRunStatus.SUCCESS, "failure": dg.DagsterRunStatus.FAILURE}


@dataclass(frozen=True, slots=True)
class Timing:
    """When a family is refreshed, and whether one process runs its steps."""

    cron: str
    timezone: str
    in_process: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A table, and the targets that it refers to, by way of others too."""

    subject: Subject
    before: frozenset[str]

    @property
    def target(self) -> str:
        """What it is released as."""
        return self.subject.plan.target


@dataclass(frozen=True, slots=True)
class Family:
    """Tables that foreign keys join; the first refers to none of them."""

    members: Sequence[Member]
    timing: Timing

    @property
    def name(self) -> str:
        """After its first table."""
        return f"family_of_{Names.of(self.members[0].subject.plan).group}"

    def following(self, instance: dg.DagsterInstance, done: Sequence[str]) -> Answer:
        """The tables that are next, of those that were not requested since the tick."""
        going_on = unfinished(instance)
        busy = (it.subject.runs.first_of(going_on) for it in self.members)
        if run := next((it for it in busy if it is not None), None):
            return dg.SkipReason(f"Run {run} of {self.name} is in progress. Cancel it if it hangs.")
        try:
            found = {
                it.target: _looked(it, going_on=bool(done)) for it in self.members if it.target not in done
            }
        except WarehouseLocked as error:
            return dg.SkipReason(f"{self.name} could not be looked at, and will be at the next tick: {error}")
        due = {target for target, news in found.items() if news.due}
        first = [it for it in self.members if it.target in due and not it.before & due]
        if not first:
            whys = [news.why for news in found.values()]
            return dg.SkipReason(
                "\n".join(whys or [f"Each table of {self.name} was requested since the tick."])
            )
        targets = [it.target for it in first]
        return dg.RunRequest(
            asset_selection=[key for it in first for key in sorted(it.subject.runs.assets)],
            tags={
                NEWS_TAG: "; ".join(f"{it}: {found[it].why}" for it in targets),
                DONE_TAG: json.dumps([*done, *targets]),
            },
        )

    def definitions(self) -> dg.Definitions:
        """Its job, its schedule, and the sensors that go on when a run of it ends."""
        keys = [key for it in self.members for key in it.subject.runs.assets]
        targets = [it.target for it in self.members]
        job = dg.define_asset_job(
            f"refresh_{self.name}",
            selection=dg.AssetSelection.assets(*keys),
            description=f"Refresh and release {', '.join(targets)}.",
            executor_def=dg.in_process_executor if self.timing.in_process else None,
            tags={TARGETS_TAG: json.dumps(targets)},
        )
        sensors = [self._continuing(job, end, status) for end, status in _ENDS.items()]
        return dg.Definitions(jobs=[job], schedules=[self._schedule(job)], sensors=sensors)

    def _schedule(self, job: Any) -> dg.ScheduleDefinition:
        @dg.schedule(
            name=f"{job.name}_schedule",
            job=job,
            cron_schedule=self.timing.cron,
            execution_timezone=self.timing.timezone,
            description="Refresh what has something new, and what it refers to before.",
        )
        def refresh(context: dg.ScheduleEvaluationContext) -> Answer:
            return self.following(context.instance, ())

        return refresh

    def _continuing(self, job: Any, end: str, status: dg.DagsterRunStatus) -> dg.SensorDefinition:
        """Go on after a run that a tick began; one that was cancelled ends it."""

        @dg.run_status_sensor(
            run_status=status,
            name=f"{self.name}_after_{end}",
            monitored_jobs=[job],
            request_job=job,
            description="Refresh what refers to a table that has been refreshed, and has something new.",
            default_status=dg.DefaultSensorStatus.RUNNING,  # it does nothing unless a tick began
        )
        def goes_on(context: dg.RunStatusSensorContext) -> Answer:
            tags = context.dagster_run.tags
            if DONE_TAG not in tags:
                return dg.SkipReason("A person began it, and chose what it refreshes.")
            return self.following(context.instance, json.loads(tags[DONE_TAG]))

        return goes_on


def _looked(member: Member, *, going_on: bool) -> News:
    """What a table has that is new. Between two runs nobody looks again later: one that cannot be looked at is due."""
    try:
        return member.subject.found()
    except WarehouseLocked as error:
        if going_on:
            return News(True, f"it could not be looked at: {error}")
        raise


def families(
    subjects: Mapping[str, Subject], after: Mapping[str, Sequence[str]], timing: Timing
) -> Iterator[Family]:
    """The families among tables of one schedule; `after`: which of them a table refers to, those first in order."""
    before: dict[str, frozenset[str]] = {}
    groups: list[set[str]] = []
    for name in subjects:
        direct = [it for it in after[name] if it in subjects]
        before[name] = frozenset(direct).union(*(before[it] for it in direct))
        joined = [group for group in groups if group & before[name]]
        groups = [group for group in groups if group not in joined] + [{name}.union(*joined)]
    for group in groups:
        if len(group) > 1:
            members = [
                Member(it, frozenset(subjects[other].plan.target for other in before[name]))
                for name, it in subjects.items()
                if name in group
            ]
            yield Family(members, timing)
