"""Synthetic and imputed tables from a warehouse table: a Dagster component library around TabDAR."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tabdar_pipeline.components.imputed_table import ImputedTable
    from tabdar_pipeline.components.synthetic_table import SyntheticTable
    from tabdar_pipeline.components.table_collection import TableCollection
    from tabdar_pipeline.fitting import FitSettings
    from tabdar_pipeline.synthesizer import TabDAR

__version__ = "0.1.0"
__all__ = ["FitSettings", "ImputedTable", "SyntheticTable", "TabDAR", "TableCollection", "__version__"]

_HOMES = {
    "ImputedTable": "tabdar_pipeline.components.imputed_table",
    "SyntheticTable": "tabdar_pipeline.components.synthetic_table",
    "TableCollection": "tabdar_pipeline.components.table_collection",
    "TabDAR": "tabdar_pipeline.synthesizer",
    "FitSettings": "tabdar_pipeline.fitting",
}


def __getattr__(name: str) -> Any:
    """Public names load their rooms when they are used: importing the package is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
