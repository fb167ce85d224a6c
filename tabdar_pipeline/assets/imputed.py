"""The assets of one imputed table: thin, each calls one step and says what came of it."""

from collections.abc import Sequence
from dataclasses import replace

import dagster as dg

from tabdar_pipeline.assets import filling, metadata, steps
from tabdar_pipeline.assets.filling import FillPlan
from tabdar_pipeline.assets.guard import guarded
from tabdar_pipeline.assets.resources import ComputeResource, WarehouseResource
from tabdar_pipeline.assets.synthetic import (
    Names,
    model_asset,
    onnx_asset,
    op_name,
    snapshot_asset,
    source_specs,
    spec,
)
from tabdar_pipeline.quality.hidden import ColumnTest
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.warehouse.names import Relation

NOTE = (
    "Cells were hidden at random among those that are known. Whether cells are missing because of their own "
    "value (not at random) cannot be verified from data."
)
_OWN = {"model": model_asset, "onnx": onnx_asset}  # of a table that reuses no other's model


def fill_specs(plan: FillPlan, model_of: str | None) -> dict[str, dg.AssetSpec]:
    """All steps from the table to its filled release; `model_of` is the table whose model fills it."""
    table = plan.table
    found = {
        "snapshot": spec(table, "snapshot", None, {"duckdb", "parquet"}, f"`{table.table}` as it is now."),
        "filled": spec(
            table, "filled", "snapshot", {"onnx", "parquet"}, "Missing cells filled, and flagged."
        ),
        "release": spec(
            table, "release", "filled", {"duckdb", "table"}, f"`{table.target}`: the released filled table."
        ),
    }
    if model_of is None:
        found["model"] = spec(table, "model", "snapshot", {"pytorch"}, "TabDAR, fitted to the known cells.")
        found["onnx"] = spec(
            table, "onnx", "model", {"onnx"}, "Backbone and denoiser, checked against torch."
        )
        onnx = found["onnx"].key
    else:
        onnx = Names.of(replace(table, target=model_of)).step("onnx")
    found["filled"] = found["filled"].merge_attributes(deps=[onnx])
    return found


def build_fill_assets(
    plan: FillPlan, asset_specs: dict[str, dg.AssetSpec]
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets and their checks."""
    own = [make(plan.table, asset_specs[step]) for step, make in _OWN.items() if step in asset_specs]
    return [
        *source_specs(plan.table),
        snapshot_asset(plan.table, asset_specs["snapshot"], plan.request.refuse_unknown),
        *own,
        _filled(plan, asset_specs["filled"]),
        _release(plan, asset_specs["release"]),
    ]


def _filled(plan: FillPlan, asset: dg.AssetSpec) -> dg.AssetsDefinition:
    check = dg.AssetCheckSpec(
        "hidden_cells", asset=asset.key, description="Known cells, hidden and filled, against mean and mode."
    )

    @dg.multi_asset(name=op_name(asset), specs=[asset], check_specs=[check])
    def filled(context: dg.AssetExecutionContext, compute: ComputeResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        from tabdar_pipeline.quality.plots import missingness_png

        ready = replace(plan, table=steps.with_compute(plan.table, compute.settings()))
        with guarded(context, plan.table, "filled"):
            taken, rows, contract = steps.last_snapshot(plan.table)
            filler = filling.Filler.of(ready, taken, rows)
            record = filling.fill(filler, lambda done, rows: context.log.info(f"{done:,} of {rows:,} rows"))
            tests = filling.diagnose(filler)
        return dg.MaterializeResult(
            asset_key=asset.key,
            metadata={
                "dagster/row_count": taken.rows * plan.request.draws,
                "dagster/column_schema": metadata.column_schema(contract.schema),
                "dagster/column_lineage": metadata.column_lineage(
                    contract.schema, Names.of(plan.table).step("snapshot"), {}
                ),
                "dagster/uri": str(plan.table.home / filling.FILLED),
                "cells_filled": record.cells,
                "cells_left": record.left,
                "cells_the_model_never_saw": record.unseen,
                "model_fingerprint": record.model,
                "missingness": metadata.picture(missingness_png(rows), "patterns of missing cells"),
                "tests": dg.MetadataValue.md(f"{NOTE}\n\n{_as_table(tests)}"),
            },
            check_results=[_checked(tests)],
        )

    return filled


def _checked(tests: Sequence[ColumnTest]) -> dg.AssetCheckResult:
    """A warning where a column is filled no better than by its mean, or is surer than it should be, or less."""
    worse = [test.column for test in tests if not test.better]
    astray = [test.column for test in tests if not test.calibrated]
    return dg.AssetCheckResult(
        check_name="hidden_cells",
        passed=not worse and not astray,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "no_better_than_the_margin": metadata.lines(worse),
            "intervals_hold_more_or_less_than_they_say": metadata.lines(astray),
        },
    )


def _as_table(tests: Sequence[ColumnTest]) -> str:
    """Markdown, a line a column."""
    lines = (
        f"| {t.column} | {t.cells} | {t.error:.3f} | {t.plain_error:.3f} | {_share(t.coverage)} | "
        f"{_share(t.coverage_by_rank)} |"
        for t in tests
    )
    head = "| column | cells | error | of mean or mode | 90 % interval covers | by rank |\n|---|---|---|---|---|---|"
    return "\n".join([head, *lines])


def _share(share: float | None) -> str:
    """As a person reads it; nothing where there is none."""
    return "" if share is None else f"{share:.1%}"


def _release(plan: FillPlan, asset: dg.AssetSpec) -> dg.AssetsDefinition:
    @dg.multi_asset(name=op_name(asset), specs=[asset], pool="duckdb")
    def release(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        table = plan.table
        with guarded(context, table, "release"):
            published = filling.publish_filling(plan, warehouse.at(table.database))
            retired = steps.retire_old(table, warehouse.at(table.database))
        schema = Contract.read(table.home / steps.CONTRACT).schema
        context.log.info(f"published {published.identifier} as {published.relation}")
        return dg.MaterializeResult(
            data_version=dg.DataVersion(published.rows_hash),
            metadata=metadata.release(table, published, schema, Names.of(table).step("filled"))
            | {
                "flags_served_as": str(Relation.parse(published.target).beside("imputed")),
                "retired": metadata.lines(retired),
            },
        )

    return release
