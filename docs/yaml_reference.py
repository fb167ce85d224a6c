"""Write docs/yaml-reference.md from the components' own fields: python docs/yaml_reference.py."""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from tabdar_pipeline.components.imputed_table import Impute, ImputedTable
from tabdar_pipeline.components.partitions import Partitions
from tabdar_pipeline.components.refresh import ColumnDrift, JointDrift, Refresh
from tabdar_pipeline.components.synthetic_table import Policy, Sample, SyntheticTable
from tabdar_pipeline.components.table import Fresh, Source, StepLimits, TableLimits, Train, Watch
from tabdar_pipeline.components.table_collection import TableCollection

PAGE = Path(__file__).with_name("yaml-reference.md")
HEAD = """# YAML reference

Unknown keys and values out of range are refused when the definitions load. This page is written by `make docs`.
"""
SYNTHETIC = {
    "attributes": SyntheticTable,
    "attributes.source": Source,
    "attributes.train": Train,
    "attributes.watch": Watch,
    "attributes.fresh": Fresh,
    "attributes.limits": TableLimits,
    "attributes.limits.steps.STEP": StepLimits,
    "attributes.sample": Sample,
    "attributes.policy": Policy,
    "attributes.refresh": Refresh,
    "attributes.refresh.columns": ColumnDrift,
    "attributes.refresh.joint": JointDrift,
    "attributes.partitions": Partitions,
}
IMPUTED = {
    "attributes": ImputedTable,
    "attributes.source": Source,
    "attributes.train": Train,
    "attributes.watch": Watch,
    "attributes.fresh": Fresh,
    "attributes.limits": TableLimits,
    "attributes.limits.steps.STEP": StepLimits,
    "attributes.impute": Impute,
}
COLLECTION = {"attributes": TableCollection}
COMPONENTS = {"SyntheticTable": SYNTHETIC, "ImputedTable": IMPUTED, "TableCollection": COLLECTION}


def page() -> str:
    """The whole page."""
    return HEAD + "".join(component(name) for name in COMPONENTS)


def component(name: str) -> str:
    """The sections of one component."""
    sections = "".join(section(at, model) for at, model in COMPONENTS[name].items())
    return f"\n## tabdar_pipeline.{name}\n{sections}"


def section(name: str, model: Any) -> str:
    """A table of one model's fields."""
    rows = "".join(row(key, field) for key, field in model.model_fields.items())
    return f"\n### {name}\n\n| key | type | default | meaning |\n|---|---|---|---|\n{rows}"


def row(key: str, field: FieldInfo) -> str:
    """One field."""
    default = "required" if field.is_required() else shown(field.default)
    return f"| `{key}` | {kind(field)} | {default} | {field.description} |\n"


def shown(default: Any) -> str:
    """A default as YAML would write it."""
    if default is None or default in ([], {}):
        return ""
    return "" if hasattr(type(default), "model_fields") else f"`{default}`"


def kind(field: FieldInfo) -> str:
    """The type and its bounds, in words."""
    if get_origin(field.annotation) is dict:
        return "mapping"
    words = " or ".join(
        name(it) for it in (get_args(field.annotation) or (field.annotation,)) if it is not type(None)
    )
    bounds = [
        f"{sign} {getattr(it, attribute)}"
        for it in field.metadata
        for attribute, sign in BOUNDS.items()
        if hasattr(it, attribute)
    ]
    return ", ".join([words, *bounds])


BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def name(annotation: Any) -> str:
    """A type's name, or the values of a literal."""
    if get_origin(annotation) is Literal:
        return " or ".join(name(it) for it in get_args(annotation))
    return (
        f"`{annotation}`" if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
