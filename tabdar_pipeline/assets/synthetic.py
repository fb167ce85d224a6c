"""The assets of one synthetic table: thin, each calls one step and says what came of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from tabdar_pipeline import __version__
from tabdar_pipeline.assets import keys, metadata, partitioned, refreshing, steps
from tabdar_pipeline.assets.drift import drift_asset
from tabdar_pipeline.assets.guard import guarded
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.assets.resources import ComputeResource, WarehouseResource
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.warehouse.names import Relation

if TYPE_CHECKING:
    from tabdar_pipeline.model.training import EpochRecord
    from tabdar_pipeline.synthesizer import TabDAR

GPU_TAGS = {
    "dagster-k8s/config": {
        "container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
    }
}


_PARTED = ("candidate", "report", "release")  # where one model serves all partitions
_PARTED_EACH = ("drift", "model", "onnx", *_PARTED)  # where each has its own


@dataclass(frozen=True, slots=True)
class Names:
    """Asset keys of one table."""

    source: dg.AssetKey
    release: dg.AssetKey

    @classmethod
    def of(cls, plan: Plan) -> "Names":
        """The source by its own name or that of the asset that makes it, the release by its target's."""
        source, target = Relation.parse(plan.table), Relation.parse(plan.target)
        own = dg.AssetKey([_plain(source.schema), _plain(source.name)])
        return cls(
            own if plan.upstream is None else dg.AssetKey.from_user_string(plan.upstream),
            _release_key(target),
        )

    def step(self, name: str) -> dg.AssetKey:
        """A step on the way to the release."""
        return dg.AssetKey([*self.release.path, name])

    @property
    def group(self) -> str:
        """One group a table, named as Dagster allows."""
        return "_".join(self.release.path)


def spec(plan: Plan, step: str, after: str | None, kinds: set[str], description: str) -> dg.AssetSpec:
    """The spec of one step; the last one, `release`, has the key of the target itself."""
    names = Names.of(plan)
    key = names.release if step == "release" else names.step(step)
    before = names.source if after is None else names.step(after)
    return dg.AssetSpec(
        key,
        deps=[before],
        kinds=kinds,
        description=description,
        group_name=names.group,
        code_version=__version__,
        metadata=metadata.table(plan, plan.target) if step == "release" else None,
        tags={"tabdar/step": step},
    )


def specs(plan: Plan) -> dict[str, dg.AssetSpec]:
    """All steps of the way from the table to its release, and which of them have partitions."""
    found = _whole_specs(plan)
    if plan.partitions is None:
        return found
    definition = keys.definition(plan.partitions)
    parted = _PARTED_EACH if plan.partitions.each else _PARTED
    return found | {step: found[step].replace_attributes(partitions_def=definition) for step in parted}


def _whole_specs(plan: Plan) -> dict[str, dg.AssetSpec]:
    return {
        "snapshot": spec(
            plan,
            "snapshot",
            None,
            {"duckdb", "parquet"},
            f"`{plan.table}` as it is now, held against its contract.",
        ),
        "drift": spec(
            plan,
            "drift",
            "snapshot",
            {"scikitlearn"},
            "How far the source has moved since the last release, and which way the refresh goes.",
        ),
        "model": spec(
            plan, "model", "drift", {"pytorch"}, "TabDAR, fitted to all rows but the holdout."
        ).replace_attributes(skippable=True),
        "onnx": spec(
            plan, "onnx", "model", {"onnx"}, "Backbone and denoiser as ONNX, checked against torch."
        ),
        "candidate": spec(plan, "candidate", "onnx", {"onnx", "parquet"}, "A synthetic table in quarantine."),
        "report": spec(
            plan,
            "report",
            "candidate",
            {"scikitlearn", "html"},
            "Figures beside their floor, suite and decision.",
        ),
        "release": spec(
            plan, "release", "report", {"duckdb", "table"}, f"`{plan.target}`: the released synthetic table."
        ),
    }


def build_assets(
    plan: Plan, asset_specs: dict[str, dg.AssetSpec]
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets and their blocking checks."""
    return [
        *source_specs(plan),
        snapshot_asset(plan, asset_specs["snapshot"]),
        drift_asset(plan, asset_specs["drift"], op_name(asset_specs["drift"])),
        model_asset(plan, asset_specs["model"], refreshing.learn),
        onnx_asset(plan, asset_specs["onnx"]),
        _candidate(plan, asset_specs["candidate"]),
        _report(plan, asset_specs["report"]),
        _release(plan, asset_specs["release"]),
    ]


def source_specs(plan: Plan) -> list[dg.AssetSpec]:
    """The source, which is not ours to make; none where the project has an asset that makes it."""
    if plan.upstream is not None:
        return []
    about = "The source, as others fill it."
    facts = metadata.table(plan, plan.table)
    return [dg.AssetSpec(Names.of(plan).source, kinds={"duckdb", "table"}, description=about, metadata=facts)]


def snapshot_asset(
    plan: Plan, asset: dg.AssetSpec, accept: Callable[[TableSchema], None] = lambda _schema: None
) -> dg.AssetsDefinition:
    """The source as it is now, with the blocking check of its contract; `accept` refuses what later steps cannot do."""
    check = dg.AssetCheckSpec(
        "contract", asset=asset.key, blocking=True, description="pandera: every rule of the contract holds."
    )

    @dg.multi_asset(name=op_name(asset), specs=[asset], check_specs=[check], pool="duckdb")
    def snapshot(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        with guarded(context, plan, "snapshot"):
            checked = steps.take_snapshot(plan, warehouse.at(plan.database))
            accept(checked.contract.schema)
            parts = _partitions(plan, checked, warehouse)
        taken, schema = checked.snapshot, checked.contract.schema
        context.log.info(f"{taken.rows:,} rows, data version {taken.data_version[:12]}")
        yield dg.MaterializeResult(
            asset_key=asset.key,
            data_version=dg.DataVersion(taken.data_version),
            metadata={
                "dagster/row_count": taken.rows,
                "dagster/column_schema": metadata.column_schema(schema),
                "dagster/column_lineage": metadata.carried_lineage(schema, Names.of(plan).source),
                "dagster/uri": str(taken.path),
                "contract": dg.MetadataValue.md(f"```yaml\n{checked.contract.to_yaml()}\n```"),
                "contract_hash": checked.contract.hash,
                "contract_is_inferred": checked.inferred,
                **parts,
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name="contract",
                    passed=not checked.violations,
                    metadata={
                        "violations": metadata.lines(v.sentence() for v in checked.violations),
                        "exceptions": metadata.lines(
                            f"{rows:,} rows break a constraint: {sentence}"
                            for sentence, rows in checked.exceptions.items()
                        ),
                    },
                )
            ],
        )

    return snapshot


def _partitions(plan: Plan, checked: steps.Checked, warehouse: WarehouseResource) -> dict[str, Any]:
    """What a snapshot says of the partitions: how many rows are in none, and which are due where each has a model."""
    if plan.partitions is None or checked.violations:
        return {}
    counts = partitioned.counts(plan)
    found: dict[str, Any] = {
        "partitions": dg.MetadataValue.json(counts),
        "rows_in_no_partition": checked.snapshot.rows - sum(counts.values()),
    }
    if plan.partitions.each:
        every = keys.definition(plan.partitions).get_partition_keys()
        due = partitioned.due(plan, warehouse.at(plan.database), every)
        found[keys.DUE] = dg.MetadataValue.json([*due.fresh])
    return found


def model_asset(
    plan: Plan,
    asset: dg.AssetSpec,
    learn: "Callable[[Plan, Callable[[EpochRecord], None]], TabDAR | None]" = steps.fit_model,
) -> dg.AssetsDefinition:
    """The fitted model; where `learn` gives none, this step and all after it are skipped."""
    gpu = GPU_TAGS if plan.fit.device == "cuda" else None

    @dg.multi_asset(
        name=op_name(asset),
        specs=[asset],
        pool="gpu",
        op_tags=gpu,
    )
    def model(context: dg.AssetExecutionContext, compute: ComputeResource) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        own = keys.plan_of(plan, asset, context)
        ready = steps.with_compute(own, compute.settings())
        with guarded(context, own, "model", retries=1):
            fitted = learn(
                ready,
                lambda r: context.log.info(
                    f"{r.budget:4.0%} of the budget, epoch {r.epoch:.1f}, {r.seconds:.0f} s: "
                    f"validation loss {r.validation_loss:.3f}{' (best)' if r.best else ''}"
                ),
            )
        if fitted is None:
            context.log.info(f"{plan.target} stays as it is: see the reasons of its drift")
            return
        facts = metadata.model(fitted) | {
            "dagster/uri": str(own.home / steps.MODEL),
            "dagster/column_schema": metadata.column_schema(fitted.schema),
            "dagster/column_lineage": metadata.carried_lineage(
                fitted.schema, Names.of(plan).step("snapshot")
            ),
        }
        yield dg.MaterializeResult(
            asset_key=asset.key, data_version=dg.DataVersion(fitted.fingerprint), metadata=facts
        )

    return model


def onnx_asset(plan: Plan, asset: dg.AssetSpec) -> dg.AssetsDefinition:
    """The graphs that sample, with the blocking check of their parity."""
    check = dg.AssetCheckSpec(
        "parity", asset=asset.key, blocking=True, description="The ONNX graphs agree with torch."
    )

    @dg.multi_asset(name=op_name(asset), specs=[asset], check_specs=[check])
    def onnx(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        from tabdar_pipeline.errors import ParityError

        own = keys.plan_of(plan, asset, context)
        try:
            with guarded(context, own, "onnx"):
                record = steps.export_model(own)
        except ParityError as error:
            failed = dg.AssetCheckResult(check_name="parity", passed=False, metadata={"reason": str(error)})
            return dg.MaterializeResult(asset_key=asset.key, check_results=[failed])
        passed = dg.AssetCheckResult(
            check_name="parity", passed=True, metadata={"max_abs_difference": record.parity}
        )
        return dg.MaterializeResult(
            asset_key=asset.key,
            metadata={
                "max_abs_difference": record.parity,
                "opset": record.opset,
                "bytes": record.bytes,
            }
            | {graph: dg.MetadataValue.path(record.folder / graph) for graph in record.graphs},
            check_results=[passed],
        )

    return onnx


def _candidate(plan: Plan, asset: dg.AssetSpec) -> dg.AssetsDefinition:
    @dg.multi_asset(name=op_name(asset), specs=[asset])
    def candidate(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, compute: ComputeResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        ready = steps.with_compute(keys.plan_of(plan, asset, context), compute.settings())
        told = [0]

        def tell(done: int, rows: int) -> None:
            if done * 10 // rows > told[0]:
                told[0] = done * 10 // rows
                context.log.info(f"{done:,} of {rows:,} rows")

        with guarded(context, ready, "candidate"):
            drawn = steps.draw_candidate(ready, warehouse.at(plan.database), tell)
        schema = Contract.read(ready.home / steps.CONTRACT).schema
        return dg.MaterializeResult(
            metadata={
                **metadata.rows(ready, drawn.rows),
                "dagster/column_schema": metadata.column_schema(schema),
                "dagster/column_lineage": metadata.column_lineage(
                    schema, Names.of(plan).step("model"), _referred(drawn)
                ),
                "redrawn_rows": drawn.redrawn,
                "dagster/uri": str(ready.desk / steps.CANDIDATE),
                "seed": plan.sample_seed,
                "references": metadata.lines(
                    f"{name} refers to {it.release or 'the candidate itself'}"
                    for name, it in drawn.references.items()
                ),
            }
        )

    return candidate


def _report(plan: Plan, asset: dg.AssetSpec) -> dg.AssetsDefinition:
    check = dg.AssetCheckSpec(
        "release_policy",
        asset=asset.key,
        blocking=True,
        description="great-expectations: rows and figures are within the policy.",
    )

    @dg.multi_asset(name=op_name(asset), specs=[asset], check_specs=[check])
    def report(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        from tabdar_pipeline.quality import plots

        own = keys.plan_of(plan, asset, context)
        with guarded(context, own, "report"):
            judged = steps.judge_candidate(own, lambda name, _share: context.log.info(f"measuring {name}"))
        figures, schema = judged.figures, judged.contract.schema
        columns = plots.columns_png(judged.train, judged.candidate, schema, dict(figures.by_column))
        return dg.MaterializeResult(
            asset_key=asset.key,
            metadata={
                "report": dg.MetadataValue.path(judged.report.resolve()),
                "decision": "accepted" if judged.decision.passed else "refused",
                "figures": metadata.figures_table(dict(figures.values), dict(figures.floor)),
                "beside_the_floor": metadata.picture(plots.floor_png(figures), "figures beside their floor"),
                "columns": metadata.picture(columns, "each column, real and synthetic"),
                "pairs": metadata.picture(plots.pairs_png(figures), "pair errors"),
                **metadata.audited(figures.audit, judged.decision.ceilings),
                **{f"figure/{name}": value for name, value in figures.values.items()},
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name="release_policy",
                    passed=judged.decision.passed,
                    metadata={
                        "reasons": metadata.lines(judged.decision.reasons),
                        "expectations": len(judged.suite.expectations),
                        "suite": judged.suite.to_json(),
                    },
                )
            ],
        )

    return report


def _release(plan: Plan, asset: dg.AssetSpec) -> dg.AssetsDefinition:
    @dg.multi_asset(name=op_name(asset), specs=[asset], pool="duckdb")
    def release(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        own = keys.plan_of(plan, asset, context)
        with guarded(context, own, "release"):
            published = steps.publish_release(own, warehouse.at(plan.database))
            retired = steps.retire_old(own, warehouse.at(plan.database))
        schema = Contract.read(own.home / steps.CONTRACT).schema
        context.log.info(f"published {published.label} as {published.relation}")
        return dg.MaterializeResult(
            data_version=dg.DataVersion(published.rows_hash),
            metadata=metadata.release(own, published, schema, Names.of(plan).step("candidate"))
            | {"seed": plan.sample_seed, "retired": metadata.lines(retired)},
        )

    return release


def _referred(drawn: steps.Drawn) -> dict[str, dg.TableColumnDep]:
    """For each foreign key, the column of the release that its values were drawn from."""
    found = {}
    for name, it in drawn.references.items():
        if it.release is not None:  # else the candidate itself
            target = Relation.parse(it.release.rpartition(" ")[0])
            found[name] = dg.TableColumnDep(_release_key(target), it.column)
    return found


def _release_key(target: Relation) -> dg.AssetKey:
    return dg.AssetKey([_plain(target.schema), _plain(target.name)])


def op_name(asset: dg.AssetSpec) -> str:
    """A name for the op behind an asset."""
    return "__".join(asset.key.path)


def _plain(name: str) -> str:
    """A name as Dagster allows it: ASCII letters, digits and underscores."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
