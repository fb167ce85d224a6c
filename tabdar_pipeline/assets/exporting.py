"""A release handed on: a folder of rows, manifest and documents."""

from collections.abc import Mapping
from pathlib import Path

from tabdar_pipeline.release.documents import Released, documents
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.export import Exported, export
from tabdar_pipeline.warehouse.names import Relation
from tabdar_pipeline.warehouse.releases import Release


def hand_on(
    warehouse: Warehouse, target: str, folder: Path, number: int | None = None, partition: str | None = None
) -> Release:
    """Write the folder, whole or not at all; raises UsageError where it exists."""
    return export(warehouse, target, folder, _texts, number, partition)


def _texts(it: Exported) -> Mapping[str, str]:
    view = Relation.parse(it.release.target)
    return documents(Released(view.schema, view.name, it.types, it.comments, it.release.manifest))
