"""Retiring releases with all that was kept of them: rows, copies, and the models that no other release has."""

from collections.abc import Sequence
from pathlib import Path

from tabdar_pipeline.assets import models
from tabdar_pipeline.assets.plan import PARTITIONS
from tabdar_pipeline.assets.served import Served
from tabdar_pipeline.warehouse import retention
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.names import Relation
from tabdar_pipeline.warehouse.releases import Release, releases


def retire(warehouse: Warehouse, target: str, number: int, storage: Path) -> Release:
    """Retire one release; raises SourceError where it is in use."""
    retired = retention.retire(warehouse, target, number)
    _forget_models(storage, releases(warehouse, target))
    return retired


def retain(warehouse: Warehouse, target: str, keep: int, storage: Path) -> list[Release]:
    """Retire all but the newest `keep` releases, and those in use; which were retired."""
    retired = retention.retain(warehouse, target, keep)
    _forget_models(storage, releases(warehouse, target))
    return retired


def _forget_models(storage: Path, found: Sequence[Release]) -> None:
    """Models stay that another release has, or that the next refresh may begin with."""
    if not found:
        return
    root = storage / Relation.parse(found[0].target).folder
    served = [Served.read(home) for home in (root, *(root / PARTITIONS).glob("*"))]
    needed = {str(it.manifest.get("model_fingerprint")) for it in found if not it.retired}
    needed |= {it.model for it in served if it is not None}
    models.forget(storage, found, needed)
