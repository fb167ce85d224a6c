"""The asset that says how far the source has moved since the last release, and which way the refresh goes."""

from collections.abc import Iterator
from typing import Literal

import dagster as dg
from pydantic import Field

from tabdar_pipeline.assets import keys, metadata, refreshing
from tabdar_pipeline.assets.guard import guarded
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.assets.refreshing import Decided
from tabdar_pipeline.assets.resources import WarehouseResource
from tabdar_pipeline.release.refresh import Way

RUN_TAG = "tabdar/refresh"


class Asked(dg.Config):
    """What a person asks for when they launch a run."""

    way: Literal["auto", "sample", "warm", "fit"] = Field(
        default="auto",
        description="At least so far, whatever is new; fit also learns a schema that would stop.",
    )


def drift_asset(plan: Plan, asset: dg.AssetSpec, name: str) -> dg.AssetsDefinition:
    """The decision, with the blocking check that no person must decide."""
    check = dg.AssetCheckSpec(
        "schema", asset=asset.key, blocking=True, description="The columns are those of the last release."
    )

    @dg.multi_asset(name=name, specs=[asset], check_specs=[check], pool="duckdb")
    def drift(
        context: dg.AssetExecutionContext, config: Asked, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        asked = Way.SKIP if config.way == "auto" else Way(config.way)
        own, shared = keys.plan_of(plan, asset, context), keys.shared(plan, asset)
        with guarded(context, own, "drift"):
            decided = refreshing.decide_refresh(own, warehouse.at(plan.database), asked, shared)
        way = "stop" if decided.stopped else str(decided.refresh.way)
        context.instance.add_run_tags(context.run.run_id, {RUN_TAG: way})
        context.log.info(f"{way}: {'; '.join(decided.refresh.reasons)}")
        yield dg.MaterializeResult(
            asset_key=asset.key,
            metadata=metadata.refresh(decided.refresh, way)
            | ({keys.DUE: dg.MetadataValue.json([*decided.due])} if plan.partitions else {}),
            check_results=[_schema_check(decided)],
        )

    return drift


def _schema_check(decided: Decided) -> dg.AssetCheckResult:
    facts = {"differences": metadata.lines(f"`{it.line}`" for it in decided.differences)}
    if decided.stopped:
        facts["what_to_do"] = dg.MetadataValue.md(
            "Lines with `!` are for a person. Put the source right, or declare it as it is now in a `contract` "
            "(`tabdar contract`), or launch the job with `way: fit` in the configuration of this step."
        )
    return dg.AssetCheckResult(check_name="schema", passed=not decided.stopped, metadata=facts)
