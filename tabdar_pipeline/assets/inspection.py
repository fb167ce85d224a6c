"""Whether releases, and the models that made them, are as they were published, and come back from their manifests."""

from pathlib import Path

from tabdar_pipeline.assets import models
from tabdar_pipeline.errors import StorageError
from tabdar_pipeline.imputation import Progress
from tabdar_pipeline.reproduction import reproduce
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.releases import Release, find, refuse_retired
from tabdar_pipeline.warehouse.serving import serving
from tabdar_pipeline.warehouse.verification import verify_each


def inspect(
    warehouse: Warehouse,
    target: str,
    storage: Path,
    number: int | None = None,
    partition: str | None = None,
    model: Path | None = None,
) -> list[Release]:
    """Verify one release, or all that are served where no number is given; raises StorageError where one is spoilt.

    The model is the named one, or the one that is kept, where it is.
    """
    asked = (
        serving(warehouse, target, partition)
        if number is None
        else [find(warehouse, target, number, partition)]
    )
    for found in verify_each(warehouse, asked):
        spoilt = models.problem(storage, found.release, model)
        problems = [*found.problems, *([] if spoilt is None else [spoilt])]
        if problems:
            raise StorageError(
                f"release {found.release.identifier!r} must be as it was published, however: "
                f"{'; '.join(problems)}. Serve another: rollback."
            )
    return asked


def redraw(
    warehouse: Warehouse,
    target: str,
    storage: Path,
    number: int | None = None,
    partition: str | None = None,
    model: Path | None = None,
    progress: Progress = lambda _done, _rows: None,
) -> Release:
    """Draw a release again with the named model, or the one that is kept; raises StorageError where a row differs."""
    release = find(warehouse, target, number, partition)
    refuse_retired(release)
    found = reproduce(warehouse, release, model or models.of(storage, release), progress)
    if found.row is not None:
        raise StorageError(
            f"release {release.identifier!r} must come back from its manifest, however row {found.row:,}, "
            f"of block {found.block:,}, differs first. Verify it (tabdar release verify), and compare its "
            "manifest's libraries with those installed."
        )
    return release
