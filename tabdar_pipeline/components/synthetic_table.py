"""`tabdar_pipeline.SyntheticTable`: YAML for one table becomes assets, checks, a job and a schedule."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import Field, field_validator, model_validator

from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.assets.resources import ComputeResource, WarehouseResource
from tabdar_pipeline.assets.synthetic import Names, build_assets, specs
from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.release.policy import ReleasePolicy
from tabdar_pipeline.synthesizer import FitSettings
from tabdar_pipeline.warehouse.names import Relation
from tabdar_pipeline.warehouse.snapshot import Selection

WAREHOUSE, COMPUTE = WarehouseResource(), ComputeResource()
_SAFE = ReleasePolicy()
SECONDS = 120.0


def is_cron(schedule: str | None) -> str | None:
    """The schedule; raises ValueError where it is no cron expression."""
    from dagster._utils.schedules import is_valid_cron_string

    if schedule is not None and not is_valid_cron_string(schedule):
        raise ValueError(f"schedule must be a cron expression, however: {schedule!r}")
    return schedule


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
        Field(description="Size of the network; auto: small on a CPU, large on a GPU."),
    ] = "auto"
    holdout: Annotated[
        float, Field(gt=0, lt=1, description="Share of the rows that is never trained on: the floor.")
    ] = 0.2

    @model_validator(mode="after")
    def _one_budget(self) -> "Train":
        if self.seconds is not None and self.epochs is not None:
            raise ValueError("train: give seconds or epochs, not both")
        return self


class Sample(dg.Model, dg.Resolvable):
    """What to draw."""

    rows: Annotated[
        int | None,
        Field(
            ge=1,
            le=10_000_000_000,
            description="Rows of the release; as many as the source has where not given.",
        ),
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**32, description="Seed of the rows.")] = 0


class Policy(dg.Model, dg.Resolvable):
    """How far from the floor a release may be; the floor is what fresh real rows score."""

    predict: Annotated[
        str | None,
        Field(description="A column to predict: measures utility (train on synthetic, test on real)."),
    ] = None
    shape_error: Annotated[
        float, Field(ge=0, le=100, description="Percent points above the floor, single columns.")
    ] = _SAFE.shape_error
    trend_error: Annotated[
        float, Field(ge=0, le=100, description="Percent points above the floor, pairs of columns.")
    ] = _SAFE.trend_error
    c2st_boosted: Annotated[
        float, Field(ge=0, le=0.5, description="ROC AUC above the floor, boosted trees telling rows apart.")
    ] = _SAFE.c2st_boosted
    utility_gap: Annotated[
        float, Field(ge=0, le=1, description="AUC or R2 below the floor, predicting `predict`.")
    ] = _SAFE.utility_gap
    dcr_share: Annotated[
        float, Field(ge=0, le=0.5, description="Above 0.5: rows nearer to training rows than to unseen ones.")
    ] = _SAFE.dcr_share
    copies: Annotated[
        float, Field(ge=0, le=1, description="Share of rows above the holdout's own share of copies.")
    ] = _SAFE.copies
    off_support: Annotated[
        float, Field(ge=0, le=1, description="Share of rows with a value that the source cannot have.")
    ] = _SAFE.off_support

    def resolved(self) -> ReleasePolicy:
        """The thresholds as the release room knows them."""
        return ReleasePolicy(**{k: v for k, v in self.model_dump().items() if k != "predict"})


def table_plan(
    root: Path,
    *,
    source: Source,
    target: str,
    train: Train,
    policy: ReleasePolicy,
    sample: Sample | None = None,
    predict: str | None = None,
    contract: str | None,
    storage: str,
    folder: str | None,
) -> Plan:
    """The settings of one table, with paths resolved from the project's root."""
    relation, drawn = Relation.parse(source.table), sample or Sample()
    released = Relation.parse(target) if "." in target else Relation(target, relation.name)
    if released == relation:
        raise UsageError(
            f"target must not be the source, however both are {str(released)!r}. Choose another schema."
        )
    return Plan(
        database=root / source.database,
        table=str(relation),
        target=str(released),
        selection=Selection(source.columns, source.where, source.limit),
        keys=tuple(source.keys),
        contract=root / contract if contract else None,
        fit=FitSettings(
            seconds=train.seconds if train.seconds or train.epochs else SECONDS,
            epochs=train.epochs,
            seed=train.seed,
            device=train.device,
            preset=train.preset,
        ),
        rows=drawn.rows,
        sample_seed=drawn.seed,
        holdout=train.holdout,
        predict=predict,
        policy=policy,
        storage=root / storage,
        folder=root / folder if folder else None,
    )


class Scaffolder(dg.Scaffolder[Any]):
    """`dg scaffold defs tabdar_pipeline.SyntheticTable customers` writes a table to fill in."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write defs.yaml."""
        name = request.target_path.name
        dg.scaffold_component(
            request,
            {
                "source": {"database": "warehouse.duckdb", "table": f"main.{name}"},
                "target": "synthetic",
                "train": {"seconds": SECONDS},
            },
        )


@dg.scaffold_with(Scaffolder)
class SyntheticTable(dg.Component, dg.Model, dg.Resolvable):
    """A synthetic table, refreshed and released from a table of a DuckDB warehouse."""

    source: Annotated[Source, Field(description="The table to learn from.")]
    target: Annotated[
        str, Field(description="Schema of the release, in the same database; or schema.table.")
    ] = "synthetic"
    train: Annotated[Train, Field(description="How the model is fitted.")] = Train()
    sample: Annotated[Sample, Field(description="What to draw.")] = Sample()
    policy: Annotated[Policy, Field(description="What a release must satisfy.")] = Policy()
    contract: Annotated[
        str | None,
        Field(
            description="Path of the source's contract (YAML); inferred anew from each snapshot where not given."
        ),
    ] = None
    schedule: Annotated[str | None, Field(description="When to refresh, as a cron expression.")] = None
    timezone: Annotated[str, Field(description="Time zone of the schedule.")] = "UTC"
    folder: Annotated[
        str | None, Field(description="Where to copy each release as parquet, under a versioned path.")
    ] = None
    storage: Annotated[str, Field(description="Where run data are kept, from the project's root.")] = (
        ".tabdar"
    )
    execution: Annotated[
        Literal["in_process", "multiprocess"],
        Field(description="One process for the job's steps, or one for each."),
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
        return is_cron(value)

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """How `dg list components` shows it."""
        return dg.ComponentTypeSpec(description=cls.__doc__, tags=["synthetic data", "duckdb"])

    def plan(self, root: Path) -> Plan:
        """The settings, with paths resolved from the project's root."""
        return table_plan(
            root,
            source=self.source,
            target=self.target,
            train=self.train,
            sample=self.sample,
            predict=self.policy.predict,
            policy=self.policy.resolved(),
            contract=self.contract,
            storage=self.storage,
            folder=self.folder,
        )

    def get_asset_spec(self, plan: Plan, step: str, spec: dg.AssetSpec) -> dg.AssetSpec:
        """The spec of a step's asset; override to rename, tag or describe."""
        del plan, step
        return spec.replace_attributes(owners=self.owners).merge_attributes(tags=self.tags)

    def execute(self, plan: Plan, asset_specs: Mapping[str, dg.AssetSpec]) -> list[Any]:
        """The assets that do the work; override to add to them."""
        return [*build_assets(plan, dict(asset_specs))]

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Assets, blocking checks, one job, and a schedule where one is asked for."""
        plan = self.plan(Path(context.project_root))
        asset_specs = {step: self.get_asset_spec(plan, step, spec) for step, spec in specs(plan).items()}
        group = Names.of(plan).group
        job = dg.define_asset_job(
            f"refresh_{group}",
            selection=dg.AssetSelection.assets(*(spec.key for spec in asset_specs.values())),
            description=f"Refresh and release {plan.target} from {plan.table}.",
            executor_def=dg.in_process_executor if self.execution == "in_process" else None,
            tags={"tabdar/target": plan.target},
        )
        schedules = (
            [dg.ScheduleDefinition(job=job, cron_schedule=self.schedule, execution_timezone=self.timezone)]
            if self.schedule
            else []
        )
        resources = {"warehouse": WAREHOUSE, "compute": COMPUTE} if self.resources == "bring" else {}
        return dg.Definitions(
            assets=self.execute(plan, asset_specs), jobs=[job], schedules=schedules, resources=resources
        )
