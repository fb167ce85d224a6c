"""`tabdar_pipeline.ImputedTable`: YAML for one table becomes a filled table, flags, a check and two jobs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import Field, model_validator

from tabdar_pipeline.assets import steps
from tabdar_pipeline.assets.filling import FillPlan
from tabdar_pipeline.assets.imputed import build_fill_assets, fill_specs
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.assets.synthetic import Names
from tabdar_pipeline.components.synthetic_table import (
    COMPUTE,
    SECONDS,
    WAREHOUSE,
    Source,
    Train,
    is_cron,
    table_plan,
)
from tabdar_pipeline.imputation import Request
from tabdar_pipeline.release.policy import ReleasePolicy
from tabdar_pipeline.warehouse.names import Relation


class Impute(dg.Model, dg.Resolvable):
    """How missing cells are filled."""

    point: Annotated[
        Literal["draw", "mean", "median", "mode"],
        Field(description="A draw for each missing cell, or an estimate; of categories, the mode."),
    ] = "draw"
    draws: Annotated[int, Field(ge=1, le=1000, description="Copies, numbered in a column `draw`.")] = 1
    seed: Annotated[int, Field(ge=0, lt=2**32, description="Seed of the draws.")] = 0
    columns: Annotated[
        list[str] | None, Field(description="Columns to fill; all modelled ones where not given.")
    ] = None

    @model_validator(mode="after")
    def _draws_are_drawn(self) -> "Impute":
        if self.draws > 1 and self.point != "draw":
            raise ValueError(f"impute: several draws need point: draw, however it is {self.point}")
        return self


class FillScaffolder(dg.Scaffolder[Any]):
    """`dg scaffold defs tabdar_pipeline.ImputedTable customers` writes a table to fill in."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write defs.yaml."""
        source = {"database": "warehouse.duckdb", "table": f"main.{request.target_path.name}"}
        dg.scaffold_component(request, {"source": source, "target": "imputed", "train": {"seconds": SECONDS}})


@dg.scaffold_with(FillScaffolder)
class ImputedTable(dg.Component, dg.Model, dg.Resolvable):
    """A table of a DuckDB warehouse with its missing cells filled, and flags that say which."""

    source: Annotated[Source, Field(description="The table to fill.")]
    target: Annotated[
        str, Field(description="Schema of the filled table, in the same database; or schema.table.")
    ] = "imputed"
    reuse: Annotated[
        str | None,
        Field(
            description="schema.table of the SyntheticTable whose model fills; one of its own where not given."
        ),
    ] = None
    train: Annotated[Train, Field(description="How its own model is fitted.")] = Train()
    impute: Annotated[Impute, Field(description="How missing cells are filled.")] = Impute()
    contract: Annotated[
        str | None, Field(description="Path of the source's contract (YAML); inferred where not given.")
    ] = None
    schedule: Annotated[
        str | None, Field(description="When to fill, as a cron expression; without fitting.")
    ] = None
    timezone: Annotated[str, Field(description="Time zone of the schedule.")] = "UTC"
    folder: Annotated[str | None, Field(description="Where to copy each release as parquet.")] = None
    storage: Annotated[str, Field(description="Where run data are kept, from the project's root.")] = (
        ".tabdar"
    )
    owners: Annotated[list[str], Field(description="Owners of the assets: emails or team:names.")] = []
    tags: Annotated[dict[str, str], Field(description="Tags of the assets.")] = {}
    resources: Annotated[
        Literal["bring", "given"],
        Field(
            description="bring: with default warehouse and compute resources; given: the project defines them."
        ),
    ] = "bring"

    @model_validator(mode="after")
    def _checked(self) -> "ImputedTable":
        is_cron(self.schedule)
        return self

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """How `dg list components` shows it."""
        return dg.ComponentTypeSpec(description=cls.__doc__, tags=["imputation", "duckdb"])

    def plan(self, root: Path) -> FillPlan:
        """The settings, with paths resolved from the project's root."""
        table = table_plan(
            root,
            source=self.source,
            target=self.target,
            train=self.train,
            contract=self.contract,
            storage=self.storage,
            folder=self.folder,
            policy=ReleasePolicy(),
        )
        model_home = (
            table.home if self.reuse is None else root / self.storage / Relation.parse(self.reuse).folder
        )
        columns = None if self.impute.columns is None else tuple(self.impute.columns)
        request = Request(self.impute.seed, self.impute.point, columns)
        return FillPlan(table, model_home / steps.MODEL, request, self.impute.draws)

    def execute(self, plan: FillPlan, asset_specs: dict[str, dg.AssetSpec]) -> list[Any]:
        """The assets that do the work; override to add to them."""
        return [*build_fill_assets(plan, asset_specs)]

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Assets, a check, a job that fits and fills, one that only fills, and its schedule."""
        plan = self.plan(Path(context.project_root))
        asset_specs = {
            step: spec.replace_attributes(owners=self.owners).merge_attributes(tags=self.tags)
            for step, spec in fill_specs(plan, self.reuse).items()
        }
        group = Names.of(plan.table).group
        fill = _job(f"fill_{group}", plan.table, [asset_specs[s] for s in ("snapshot", "filled", "release")])
        jobs = [fill, _job(f"refresh_{group}", plan.table, list(asset_specs.values()))]
        schedules = (
            [dg.ScheduleDefinition(job=fill, cron_schedule=self.schedule, execution_timezone=self.timezone)]
            if self.schedule
            else []
        )
        resources = {"warehouse": WAREHOUSE, "compute": COMPUTE} if self.resources == "bring" else {}
        return dg.Definitions(
            assets=self.execute(plan, asset_specs), jobs=jobs, schedules=schedules, resources=resources
        )


def _job(name: str, plan: Plan, asset_specs: list[dg.AssetSpec]) -> Any:
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(*(spec.key for spec in asset_specs)),
        description=f"Fill {plan.target} from {plan.table}.",
        executor_def=dg.in_process_executor,
        tags={"tabdar/target": plan.target},
    )
