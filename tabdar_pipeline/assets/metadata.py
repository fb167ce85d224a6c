"""What a person sees of a materialization in Dagster: counts, schema, lineage, pictures."""

import base64
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.quality.attacks.risk import Risk
from tabdar_pipeline.quality.audit import Audit
from tabdar_pipeline.quality.drift import Drift
from tabdar_pipeline.release.documents import Released, documents
from tabdar_pipeline.release.refresh import Refresh
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.warehouse.names import Relation
from tabdar_pipeline.warehouse.publish import Release

if TYPE_CHECKING:
    from tabdar_pipeline.synthesizer import TabDAR


def column_schema(schema: TableSchema) -> dg.TableSchema:
    """Names, types and constraints."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                c.name,
                c.sql_type,
                description=f"{c.kind}: {c.reason}" if c.reason else str(c.kind),
                constraints=dg.TableColumnConstraints(nullable=c.nullable),
            )
            for c in schema.columns
        ]
    )


def table(plan: Plan, name: str) -> dict[str, Any]:
    """Which table of the warehouse an asset is, as catalogs know it."""
    return {
        "dagster/table_name": f"{plan.database.stem}.{Relation.parse(name)}",
        "dagster/storage_kind": "duckdb",
    }


def rows(plan: Plan, count: int) -> dict[str, int]:
    """How many rows were made, of the whole or of a partition."""
    return {"dagster/row_count" if plan.part is None else "dagster/partition_row_count": count}


def carried_lineage(schema: TableSchema, upstream: dg.AssetKey) -> dg.TableColumnLineage:
    """Each column comes from its own upstream."""
    return dg.TableColumnLineage({name: [dg.TableColumnDep(upstream, name)] for name in schema.names})


def column_lineage(
    schema: TableSchema, upstream: dg.AssetKey, referred: Mapping[str, dg.TableColumnDep]
) -> dg.TableColumnLineage:
    """Each column comes from all columns upstream that are modelled, its own first.

    A foreign key comes from its own and from the released column that its values were drawn from.
    """
    modelled = [c.name for c in schema.modelled]

    def sources(name: str, is_modelled: bool) -> list[str]:
        return [name, *(m for m in modelled if m != name)] if is_modelled else [name]

    return dg.TableColumnLineage(
        {
            c.name: [
                *(dg.TableColumnDep(upstream, s) for s in sources(c.name, c.modelled)),
                *([referred[c.name]] if c.name in referred else []),
            ]
            for c in schema.columns
        }
    )


def picture(png: bytes, text: str) -> dg.MarkdownMetadataValue:
    """A PNG inside the metadata itself."""
    return dg.MetadataValue.md(f"![{text}](data:image/png;base64,{base64.b64encode(png).decode()})")


def figures_table(values: dict[str, float], floor: dict[str, float]) -> dg.MarkdownMetadataValue:
    """Figures beside their floor."""
    rows = "\n".join(f"| {n} | {v:.4g} | {floor[n]:.4g} |" for n, v in values.items())
    return dg.MetadataValue.md(f"| figure | synthetic | floor |\n|---|---|---|\n{rows}")


def audited(audit: Audit | None, ceilings: Mapping[str, float]) -> dict[str, Any]:
    """The privacy audit: a table and a picture of the attacks, and of inference by column."""
    from tabdar_pipeline.quality import plots

    if audit is None:
        return {}
    return {
        "attacks": risks_table(audit.risks),
        "attacks_plot": picture(plots.risks_png(audit.risks, ceilings), "attacks and their risks"),
        "inference": risks_table(audit.secrets),
    }


def risks_table(risks: Mapping[str, Risk]) -> dg.MarkdownMetadataValue:
    """What each attack gains, and how often it succeeds."""
    rows = "\n".join(
        f"| {name} | {it.value:.3f} | {it.low:.3f} to {it.high:.3f} | {it.train.value:.3f} | {it.control.value:.3f} |"
        for name, it in risks.items()
    )
    return dg.MetadataValue.md(
        f"| attack | risk | 95 % interval | on training rows | on unseen rows |\n|---|---|---|---|---|\n{rows}"
    )


def protected_table(protected: Mapping[str, Mapping[str, int]]) -> dg.MarkdownMetadataValue:
    """What the codec keeps back of each column, in counts."""
    rows = "\n".join(
        f"| {name.replace('|', '/')} | {' | '.join(map(str, it.values()))} |"
        for name, it in protected.items()
    )
    return dg.MetadataValue.md(
        "| column | rows that must share a value | rare levels | their cells | numbers clipped |\n"
        f"|---|---|---|---|---|\n{rows}"
    )


def model(fitted: "TabDAR") -> dict[str, Any]:
    """How a model was fitted, and what it keeps back."""
    from tabdar_pipeline.quality.plots import learning_png

    last = fitted.history[-1]
    return {
        "model_fingerprint": fitted.fingerprint,
        "seed": fitted.seed,
        "training_data_version": fitted.settings["data_version"],
        "epochs": last.epoch,
        "seconds": last.seconds,
        "stopped_early": fitted.stopped_early or "no",
        "validation_loss": min(r.validation_loss for r in fitted.history),
        "learning_curve": picture(learning_png(fitted.history), "learning curve"),
        "settings": fitted.settings,
        "protected": protected_table(fitted.codec.to_json()["protected"]),
    }


def refresh(it: Refresh, way: str) -> dict[str, Any]:
    """The way of a refresh, why, and the drift behind it."""
    said = {"way": way, "reasons": lines(it.reasons)}
    if it.drift is None:
        return said
    return said | {
        "rows_before": it.drift.rows[0],
        "dagster/row_count": it.drift.rows[1],
        "largest_drift": max(it.drift.beyond.values(), default=0.0),
        "joint_drift": it.drift.joint_beyond,
        "drift": drift_table(it.drift),
    }


def drift_table(it: Drift) -> dg.MarkdownMetadataValue:
    """Each column and all of them jointly, beside what two random halves of one state show."""
    rows = "\n".join(
        f"| {name.replace('|', '/')} | {it.columns[name]:.2f} | {it.columns_floor[name]:.2f} | {beyond:.2f} |"
        for name, beyond in it.beyond.items()
    )
    return dg.MetadataValue.md(
        "| column | distance, percent | by chance up to | beyond |\n|---|---|---|---|\n"
        f"{rows}\n| **all, AUC** | {it.joint:.3f} | {it.joint_floor:.3f} | {it.joint_beyond:.3f} |"
    )


def lines(items: Iterable[Any]) -> dg.MarkdownMetadataValue:
    """A bulleted list."""
    return dg.MetadataValue.md("\n".join(f"- {item}" for item in items) or "none")


def release(plan: Plan, published: Release, schema: TableSchema, upstream: dg.AssetKey) -> dict[str, Any]:
    """What was published, from what, and where it is served, with the documents that go with it."""
    view = Relation.parse(published.target)
    types = {column.name: column.sql_type for column in schema.columns}
    texts = documents(Released(view.schema, view.name, types, {}, published.manifest))
    return {
        "release_id": published.identifier,
        "served_as": published.target,
        "relation": published.relation,
        **table(plan, published.target),
        **rows(plan, published.row_count),
        "dagster/column_schema": column_schema(schema),
        "dagster/column_lineage": carried_lineage(schema, upstream),
        "model_fingerprint": published.manifest["model_fingerprint"],
        "source_data_version": published.manifest["source"]["data_version"],
        "manifest": published.manifest,
        "data_card": dg.MetadataValue.md(texts["DATA_CARD.md"]),
        "model_card": dg.MetadataValue.md(texts["MODEL_CARD.md"]),
        "data_contract": dg.MetadataValue.md(f"```yaml\n{texts['datacontract.yaml']}```"),
        "dbt_sources": dg.MetadataValue.md(f"```yaml\n{texts['sources.yml']}```"),
    }
