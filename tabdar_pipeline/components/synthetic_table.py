"""`tabdar_pipeline.SyntheticTable`: YAML for one table becomes assets, checks, a job and a schedule."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import dagster as dg
from pydantic import Field

from tabdar_pipeline.assets.keys import continuing
from tabdar_pipeline.assets.news import News, news
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.assets.synthetic import Names, build_assets, specs
from tabdar_pipeline.components.partitions import Partitions
from tabdar_pipeline.components.refresh import Refresh
from tabdar_pipeline.components.table import Table, TableScaffolder, Watch
from tabdar_pipeline.components.ticks import Subject
from tabdar_pipeline.release.policy import ReleasePolicy
from tabdar_pipeline.warehouse.duckdb import Warehouse

_SAFE = ReleasePolicy()


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
        float,
        Field(
            ge=0,
            le=0.5,
            description="Above 0.5 and three standard errors: rows nearer to training rows than to unseen ones.",
        ),
    ] = _SAFE.dcr_share
    copies: Annotated[
        float, Field(ge=0, le=1, description="Share of rows above the holdout's own share of copies.")
    ] = _SAFE.copies
    off_support: Annotated[
        float, Field(ge=0, le=1, description="Share of rows with a value that the source cannot have.")
    ] = _SAFE.off_support
    near_copies: Annotated[
        float, Field(ge=0, le=1, description="Rows that are a training row with a little noise, share.")
    ] = _SAFE.near_copies
    distance_ratio: Annotated[
        float, Field(ge=0, le=1, description="Risk that a row's two nearest neighbours tell it was learned.")
    ] = _SAFE.distance_ratio
    singling_out: Annotated[
        float, Field(ge=0, le=1, description="Risk that a description fits one training row alone.")
    ] = _SAFE.singling_out
    linkability: Annotated[
        float, Field(ge=0, le=1, description="Risk that two halves of a training row find each other.")
    ] = _SAFE.linkability
    membership: Annotated[
        float, Field(ge=0, le=1, description="Risk that it can be told whether a row was learned.")
    ] = _SAFE.membership
    inference: Annotated[
        float, Field(ge=0, le=1, description="Risk that a training row's column can be told from the others.")
    ] = _SAFE.inference
    likelihood: Annotated[
        float,
        Field(ge=0, le=1, description="Risk that the model itself, which stays here, tells who was learned."),
    ] = _SAFE.likelihood

    def resolved(self) -> ReleasePolicy:
        """The thresholds as the release room knows them."""
        return ReleasePolicy(**{k: v for k, v in self.model_dump().items() if k != "predict"})


class Scaffolder(TableScaffolder):
    """`dg scaffold defs tabdar_pipeline.SyntheticTable customers`."""

    target = "synthetic"


@dg.scaffold_with(Scaffolder)
class SyntheticTable(Table):
    """A synthetic table, refreshed and released from a table of a DuckDB warehouse."""

    its_steps: ClassVar[tuple[str, ...]] = (
        "snapshot",
        "drift",
        "model",
        "onnx",
        "candidate",
        "report",
        "release",
    )
    target: Annotated[
        str, Field(description="Schema of the release, in the same database; or schema.table.")
    ] = "synthetic"
    sample: Annotated[Sample, Field(description="What to draw.")] = Sample()
    policy: Annotated[Policy, Field(description="What a release must satisfy.")] = Policy()
    refresh: Annotated[
        Refresh, Field(description="What a refresh does with a source that has something new.")
    ] = Refresh()
    partitions: Annotated[
        Partitions | None, Field(description="A release for each partition of the source, under one view.")
    ] = None

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """How `dg list components` shows it."""
        return dg.ComponentTypeSpec(description=cls.__doc__, tags=["synthetic data", "duckdb"])

    def plan(self, root: Path) -> Plan:
        """The settings, with paths resolved from the project's root."""
        plan = self.table_plan(
            root,
            policy=self.policy.resolved(),
            rows=self.sample.rows,
            sample_seed=self.sample.seed,
            predict=self.policy.predict,
        )
        parted = None if self.partitions is None else self.partitions.resolved()
        return replace(plan, refresh=self.refresh.resolved(), partitions=parted)

    def execute(self, plan: Plan, asset_specs: Mapping[str, dg.AssetSpec]) -> list[Any]:
        """The assets that do the work; override to add to them."""
        return [*build_assets(plan, dict(asset_specs))]

    def look(self, plan: Plan, warehouse: Warehouse) -> News:
        """What a tick finds new, as `watch` looks or by a checksum; override to look elsewhere as well."""
        watch = self.watch or Watch()
        return news(plan, warehouse, watch.by, watch.column)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Assets, blocking checks, one job, and a schedule where one is asked for."""
        return self.definitions(Path(context.project_root))

    def asset_specs(self, plan: Plan, after: Sequence[dg.AssetKey] = ()) -> dict[str, dg.AssetSpec]:
        """The assets of the steps; `after` are releases that its foreign keys refer to."""
        steps = specs(plan)
        steps["snapshot"] = steps["snapshot"].merge_attributes(deps=after)
        condition = self._on_source()
        if condition is None and after:  # the source is no asset's: Dagster would wait for it
            source = dg.AssetSelection.assets(Names.of(plan).source)
            condition = dg.AutomationCondition.eager().ignore(source)
        return self._specs(plan, steps, _shared(steps), condition)

    def subject(self, plan: Plan, asset_specs: Mapping[str, dg.AssetSpec]) -> Subject:
        """What ticks look at, and the job that they request."""
        job = self._job("refresh", plan, _shared(asset_specs).values())
        return self._subject(plan, job, asset_specs, partial(self.look, plan))

    def definitions(
        self, root: Path, after: Sequence[dg.AssetKey] = (), *, scheduled: bool = True
    ) -> dg.Definitions:
        """The same for a project's root; without the schedule where that is a family's."""
        plan = self.plan(root)
        asset_specs = self.asset_specs(plan, after)
        assets = self.execute(plan, asset_specs)
        subject = self.subject(plan, asset_specs)
        cron = self.schedule if scheduled else None
        if plan.partitions is None:
            return self._definitions(subject, assets, cron)
        parted = [spec for step, spec in asset_specs.items() if step not in _shared(asset_specs)]
        release = self._job("release", plan, parted)
        sensor = self._continuing(plan, release, asset_specs)
        return self._definitions(subject, assets, cron, [release], [sensor])

    def _continuing(
        self, plan: Plan, release: Any, asset_specs: Mapping[str, dg.AssetSpec]
    ) -> dg.SensorDefinition:
        """The sensor that goes on with the partitions where a refresh ends."""
        each = plan.partitions is not None and plan.partitions.each
        last, told = ("snapshot", "snapshot") if each else ("onnx", "drift")
        return continuing(
            f"partitions_of_{Names.of(plan).group}",
            asset_specs[last].key,
            asset_specs[told].key,
            release,
            f"Release the partitions of {plan.target} that have something new.",
        )


def _shared(asset_specs: Mapping[str, dg.AssetSpec]) -> dict[str, dg.AssetSpec]:
    """The steps that have no partitions."""
    return {step: spec for step, spec in asset_specs.items() if spec.partitions_def is None}
