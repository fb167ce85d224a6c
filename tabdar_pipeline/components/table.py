"""What the components share: a source, a target, a fit, a schedule, and how they become a `Plan`."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import dagster as dg
from pydantic import Field, field_validator, model_validator

from tabdar_pipeline.assets.limits import GB, Limits
from tabdar_pipeline.assets.news import News
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.assets.resources import ComputeResource, WarehouseResource
from tabdar_pipeline.assets.runs import TARGET_TAG, TableRuns
from tabdar_pipeline.assets.stewarding import stewarding_job
from tabdar_pipeline.assets.synthetic import Names
from tabdar_pipeline.components.ticks import Subject, scheduled, watching
from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.fitting import FitSettings
from tabdar_pipeline.release.policy import ReleasePolicy
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.names import Relation
from tabdar_pipeline.warehouse.snapshot import Selection

SECONDS = 120.0
WAREHOUSE, COMPUTE = WarehouseResource(), ComputeResource()  # the same for all tables of a project


class Source(dg.Model, dg.Resolvable):
    """The table to learn from."""

    database: Annotated[
        str, Field(description="Path of the DuckDB file, absolute or from the project's root.")
    ]
    table: Annotated[
        str,
        Field(
            min_length=1,
            description="The table or view, as schema.table; double quotes around a name with a dot.",
        ),
    ]
    columns: Annotated[list[str] | None, Field(description="Columns to take; all where not given.")] = None
    where: Annotated[str | None, Field(description="A SQL expression that the rows must satisfy.")] = None
    limit: Annotated[
        int | None, Field(ge=2, description="No more than so many rows, chosen by their hash.")
    ] = None
    keys: Annotated[list[str], Field(description="Columns that are keys: made anew, never modelled.")] = []
    references: Annotated[
        dict[str, str],
        Field(
            description="Foreign keys: by column, the schema.table.column that it refers to. That table is released "
            "first, in the same database. Keys that DuckDB knows of need not be said, but only what is said here orders "
            "the tables of a collection."
        ),
    ] = {}
    asset: Annotated[
        str | None,
        Field(
            description="Key (a/b) of the asset that makes the table, where the project has one; a "
            "materialization of it requests a refresh."
        ),
    ] = None


class Train(dg.Model, dg.Resolvable):
    """How the model is fitted."""

    seconds: Annotated[
        float | None,
        Field(gt=0, le=604_800, description=f"Budget of wall clock; {SECONDS:.0f} where no budget is given."),
    ] = None
    epochs: Annotated[
        int | None, Field(ge=1, le=100_000, description="Budget in epochs, instead of seconds.")
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**32, description="Seed of weights, orders and noise.")] = 0
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Field(description="Where to train; auto follows the compute resource."),
    ] = "auto"
    preset: Annotated[
        Literal["auto", "small", "medium", "large"],
        Field(description="Size of the network; auto: by rows, columns, budget and device."),
    ] = "auto"
    holdout: Annotated[
        float, Field(gt=0, lt=1, description="Share of the rows that is never trained on: the floor.")
    ] = 0.2

    @model_validator(mode="after")
    def _one_budget(self) -> "Train":
        if self.seconds is not None and self.epochs is not None:
            raise ValueError("train: give seconds or epochs, not both")
        return self


class Watch(dg.Model, dg.Resolvable):
    """How a change of the source is seen."""

    by: Annotated[
        Literal["checksum", "rows", "watermark"],
        Field(description="The content of all rows, their number, or the largest value of a column."),
    ] = "checksum"
    column: Annotated[str | None, Field(description="The column of a watermark, such as updated_at.")] = None
    every: Annotated[int, Field(ge=10, le=86_400, description="Seconds between two looks.")] = 300

    @model_validator(mode="after")
    def _a_watermark_has_a_column(self) -> "Watch":
        if (self.by == "watermark") != (self.column is not None):
            raise ValueError("watch: give a column for a watermark, and for nothing else")
        return self


class StepLimits(dg.Model, dg.Resolvable):
    """What one step may use, beyond which it fails and says so."""

    minutes: Annotated[
        float | None, Field(gt=0, description="Wall clock of a step; a training budget should be well below.")
    ] = None
    memory_gb: Annotated[
        float | None, Field(ge=1, description="Memory of the process that runs the step; Linux only.")
    ] = None

    def resolved(self) -> Limits:
        """As the assets know them."""
        seconds = None if self.minutes is None else 60 * self.minutes
        return Limits(seconds, None if self.memory_gb is None else round(self.memory_gb * GB))


class TableLimits(StepLimits):
    """What each step may use, and some of them more or less."""

    steps: Annotated[
        dict[str, StepLimits],
        Field(description="By step, such as model: `minutes` and `memory_gb` that are other there."),
    ] = {}

    def resolved(self) -> Limits:
        """As the assets know them."""
        return replace(super().resolved(), steps={step: it.resolved() for step, it in self.steps.items()})


class Fresh(dg.Model, dg.Resolvable):
    """How old a release may become."""

    hours: Annotated[
        float, Field(ge=0.1, description="Dagster calls an older release stale; a source at rest makes none.")
    ]
    warn_hours: Annotated[float | None, Field(ge=0.1, description="It warns of one older than this.")] = None

    @model_validator(mode="after")
    def _warns_first(self) -> "Fresh":
        if self.warn_hours is not None and self.warn_hours >= self.hours:
            raise ValueError("fresh: warn_hours must be below hours, or nothing is warned of")
        return self

    def policy(self) -> dg.FreshnessPolicy:
        """As Dagster knows it."""
        warn = None if self.warn_hours is None else timedelta(hours=self.warn_hours)
        return dg.FreshnessPolicy.time_window(timedelta(hours=self.hours), warn)


class TableScaffolder(dg.Scaffolder[Any]):
    """`dg scaffold defs` writes a table to fill in."""

    target: ClassVar[str]  # the schema that it proposes

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write defs.yaml."""
        source = {"database": "warehouse.duckdb", "table": f"main.{request.target_path.name}"}
        dg.scaffold_component(
            request, {"source": source, "target": self.target, "train": {"seconds": SECONDS}}
        )


class Table(dg.Component, dg.Model, dg.Resolvable):
    """One table of a DuckDB warehouse, from its source to a release."""

    its_steps: ClassVar[tuple[str, ...]]  # by which limits may be given

    source: Annotated[Source, Field(description="The table to learn from.")]
    target: Annotated[str, Field(description="Schema of the release, in the same database; or schema.table.")]
    train: Annotated[Train, Field(description="How the model is fitted.")] = Train()
    contract: Annotated[
        str | None,
        Field(
            description="Path of the source's contract (YAML); inferred anew from each snapshot where not given."
        ),
    ] = None
    schedule: Annotated[str | None, Field(description="When to refresh, as a cron expression.")] = None
    timezone: Annotated[str, Field(description="Time zone of the schedule.")] = "UTC"
    watch: Annotated[
        Watch | None, Field(description="Refresh when the source changes, as a sensor sees it.")
    ] = None
    fresh: Annotated[Fresh | None, Field(description="How old a release may become.")] = None
    folder: Annotated[
        str | None, Field(description="Where to copy each release as parquet, under a versioned path.")
    ] = None
    keep: Annotated[
        int | None,
        Field(
            ge=1,
            description="How many releases keep their rows, the newest and the served; all if not given.",
        ),
    ] = None
    limits: Annotated[TableLimits, Field(description="What one step may use.")] = TableLimits()
    storage: Annotated[str, Field(description="Where run data are kept, from the project's root.")] = (
        ".tabdar"
    )
    execution: Annotated[
        Literal["in_process", "multiprocess"],
        Field(description="One process for a job's steps, or one for each."),
    ] = "in_process"
    owners: Annotated[list[str], Field(description="Owners of the assets: emails or team:names.")] = []
    tags: Annotated[dict[str, str], Field(description="Tags of the assets.")] = {}
    resources: Annotated[
        Literal["bring", "given"],
        Field(
            description="bring: with default warehouse and compute resources; given: the project defines them."
        ),
    ] = "bring"

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        from dagster._utils.schedules import is_valid_cron_string

        if value is not None and not is_valid_cron_string(value):
            raise ValueError(f"schedule must be a cron expression, however: {value!r}")
        return value

    @field_validator("limits")
    @classmethod
    def _limits_of_its_steps(cls, value: TableLimits) -> TableLimits:
        for step in value.steps:
            if step not in cls.its_steps:
                raise ValueError(f"limits: steps must be of {', '.join(cls.its_steps)}, however: {step!r}")
        return value

    def table_plan(
        self,
        root: Path,
        *,
        policy: ReleasePolicy,
        rows: int | None = None,
        sample_seed: int = 0,
        predict: str | None = None,
    ) -> Plan:
        """The settings, with paths resolved from the project's root."""
        source, train = Relation.parse(self.source.table), self.train
        target = Relation.parse(self.target) if "." in self.target else Relation(self.target, source.name)
        if target == source:
            raise UsageError(
                f"target must not be the source, however both are {str(target)!r}. Choose another schema."
            )
        return Plan(
            database=root / self.source.database,
            table=str(source),
            target=str(target),
            selection=Selection(self.source.columns, self.source.where, self.source.limit),
            keys=tuple(self.source.keys),
            references=dict(self.source.references),
            contract=root / self.contract if self.contract else None,
            fit=FitSettings(
                seconds=train.seconds if train.seconds or train.epochs else SECONDS,
                epochs=train.epochs,
                seed=train.seed,
                device=train.device,
                preset=train.preset,
            ),
            rows=rows,
            sample_seed=sample_seed,
            holdout=train.holdout,
            predict=predict,
            policy=policy,
            storage=root / self.storage,
            folder=root / self.folder if self.folder else None,
            keep=self.keep,
            upstream=self.source.asset,
            limits=self.limits.resolved(),
        )

    def get_asset_spec(self, plan: Any, step: str, spec: dg.AssetSpec) -> dg.AssetSpec:
        """The spec of a step's asset; override to rename, tag or describe."""
        del plan, step
        return spec.replace_attributes(owners=self.owners).merge_attributes(tags=self.tags)

    def _on_source(self) -> "dg.AutomationCondition[Any] | None":
        """When the source's asset was materialized, where it has one."""
        return None if self.source.asset is None else dg.AutomationCondition.eager()

    def _specs(
        self,
        plan: Any,
        specs: Mapping[str, dg.AssetSpec],
        follow: Container[str],
        condition: "dg.AutomationCondition[Any] | None",
    ) -> dict[str, dg.AssetSpec]:
        """The specs as YAML has them; the steps of `follow` run by themselves under the condition."""
        found = {}
        for step, spec in specs.items():
            asked = spec.replace_attributes(
                automation_condition=condition if step in follow else None,
                freshness_policy=self.fresh.policy() if self.fresh and step == "release" else None,
            )
            found[step] = self.get_asset_spec(plan, step, asked)
        return found

    def _job(self, verb: str, plan: Plan, specs: Iterable[dg.AssetSpec]) -> Any:
        """A job that materializes these assets."""
        return dg.define_asset_job(
            f"{verb}_{Names.of(plan).group}",
            selection=dg.AssetSelection.assets(*(spec.key for spec in specs)),
            description=f"{verb.capitalize()} and release {plan.target} from {plan.table}.",
            executor_def=dg.in_process_executor if self.execution == "in_process" else None,
            tags={TARGET_TAG: plan.target},
        )

    def _subject(
        self, plan: Plan, job: Any, specs: Mapping[str, dg.AssetSpec], look: Callable[[Warehouse], News]
    ) -> Subject:
        """What ticks look at, and what they request."""
        return Subject(plan, job, TableRuns(plan.target, frozenset(it.key for it in specs.values())), look)

    def _definitions(
        self,
        it: Subject,
        assets: Sequence[Any],
        cron: str | None,
        jobs: Sequence[Any] = (),
        sensors: Sequence[Any] = (),
    ) -> dg.Definitions:
        """All of the table's definitions; other jobs than the one that ticks request are for people."""
        watch, group = self.watch, Names.of(it.plan).group
        watched = [watching(it, watch.by, watch.column, watch.every)] if watch else []
        return dg.Definitions(
            assets=assets,
            jobs=[it.job, *jobs, stewarding_job(it.plan, Names.of(it.plan).release, group)],
            schedules=[scheduled(it, cron, self.timezone)] if cron else [],
            sensors=[*sensors, *watched],
            resources={"warehouse": WAREHOUSE, "compute": COMPUTE} if self.resources == "bring" else {},
        )
