"""`tabdar_pipeline.ImputedTable`: YAML for one table becomes a filled table, flags, a check and two jobs."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import dagster as dg
from pydantic import Field, model_validator

from tabdar_pipeline.assets import steps
from tabdar_pipeline.assets.filling import FillPlan
from tabdar_pipeline.assets.imputed import build_fill_assets, fill_specs
from tabdar_pipeline.assets.news import News, news_to_fill
from tabdar_pipeline.components.table import Table, TableScaffolder, Watch
from tabdar_pipeline.imputation import Request
from tabdar_pipeline.release.policy import ReleasePolicy
from tabdar_pipeline.warehouse.duckdb import Warehouse
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

    intervals: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="Publish `<table>__intervals`, too: between what each filled number lies with this probability.",
        ),
    ] = None

    @model_validator(mode="after")
    def _draws_are_drawn(self) -> "Impute":
        if self.draws > 1 and self.point != "draw":
            raise ValueError(f"impute: several draws need point: draw, however it is {self.point}")
        if self.columns is not None and not any(self.columns):
            raise ValueError("impute: columns must name some, however none is. Leave it out to fill all.")
        return self


class FillScaffolder(TableScaffolder):
    """`dg scaffold defs tabdar_pipeline.ImputedTable customers`."""

    target = "imputed"


@dg.scaffold_with(FillScaffolder)
class ImputedTable(Table):
    """A table of a DuckDB warehouse with its missing cells filled, and flags that say which."""

    its_steps: ClassVar[tuple[str, ...]] = ("snapshot", "model", "onnx", "filled", "release")
    target: Annotated[
        str, Field(description="Schema of the filled table, in the same database; or schema.table.")
    ] = "imputed"
    reuse: Annotated[
        str | None,
        Field(
            description="schema.table of the SyntheticTable whose model fills; one of its own where not given."
        ),
    ] = None
    impute: Annotated[Impute, Field(description="How missing cells are filled.")] = Impute()
    schedule: Annotated[
        str | None, Field(description="When to fill, as a cron expression; without fitting.")
    ] = None

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """How `dg list components` shows it."""
        return dg.ComponentTypeSpec(description=cls.__doc__, tags=["imputation", "duckdb"])

    def plan(self, root: Path) -> FillPlan:
        """The settings, with paths resolved from the project's root."""
        table = self.table_plan(root, policy=ReleasePolicy())
        table = replace(table, fit=replace(table.fit, missing="unknown"))
        home = table.home if self.reuse is None else table.storage / Relation.parse(self.reuse).folder
        columns = None if self.impute.columns is None else tuple(self.impute.columns)
        request = Request(self.impute.seed, self.impute.point, columns, self.impute.draws)
        return FillPlan(table, home / steps.MODEL, request, self.reuse, self.impute.intervals)

    def execute(self, plan: FillPlan, asset_specs: dict[str, dg.AssetSpec]) -> list[Any]:
        """The assets that do the work; override to add to them."""
        return [*build_fill_assets(plan, asset_specs)]

    def look(self, plan: FillPlan, warehouse: Warehouse) -> News:
        """What a tick finds new, as `watch` looks or by a checksum; override to look elsewhere as well."""
        watch = self.watch or Watch()
        return news_to_fill(plan, warehouse, watch.by, watch.column)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Assets, a check, a job that only fills, which is scheduled, and one that fits and fills."""
        plan = self.plan(Path(context.project_root))
        filling = ("snapshot", "filled", "release")
        asset_specs = self._specs(plan, fill_specs(plan, self.reuse), filling, self._on_source())
        fill = self._job("fill", plan.table, [asset_specs[step] for step in filling])
        refresh = self._job("refresh", plan.table, asset_specs.values())
        subject = self._subject(plan.table, fill, asset_specs, partial(self.look, plan))
        return self._definitions(subject, self.execute(plan, asset_specs), self.schedule, [refresh])
