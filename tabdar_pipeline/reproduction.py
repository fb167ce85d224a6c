"""A release drawn again from its manifest: the same model and seed give the same rows, or the first that differs."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tabdar_pipeline.errors import ModelDirectoryError, UsageError
from tabdar_pipeline.imputation import Progress
from tabdar_pipeline.runtime import OnnxSampler
from tabdar_pipeline.sampling.draws import BLOCK_ROWS
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.references import Bound, bind
from tabdar_pipeline.warehouse.releases import Release, find, refuse_retired
from tabdar_pipeline.warehouse.verification import first_difference


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What came of drawing a release again."""

    release: Release
    row: int | None  # the first that differs; None where all are the same

    @property
    def block(self) -> int | None:
        """The block that holds it."""
        return None if self.row is None else self.row // BLOCK_ROWS


def reproduce(
    warehouse: Warehouse,
    target: str,
    model: Path,
    number: int | None = None,
    progress: Progress = lambda _done, _rows: None,
) -> Reproduction:
    """Draw a release again with its model, and compare it with what was published, row by row.

    Raises ModelDirectoryError where the directory holds another model, UsageError where the release was imputed.
    """
    release = find(warehouse, target, number)
    refuse_retired(release)
    manifest = release.manifest
    if manifest.get("kind", "synthetic") != "synthetic":
        raise UsageError(
            f"release {release.identifier!r} must be synthetic to be drawn again, however it is "
            f"{manifest['kind']}. Materialize its assets again with the source of then."
        )
    sampler = OnnxSampler.load(model, threads=manifest["settings"]["fit"]["threads"])
    if sampler.fingerprint != manifest["model_fingerprint"]:
        raise ModelDirectoryError(
            f"{str(model)!r} must hold the model {manifest['model_fingerprint']} of {release.identifier!r}, "
            f"however it holds {sampler.fingerprint}. Name the directory of that one."
        )
    with TemporaryDirectory() as scratch:
        rows = Path(scratch) / "rows.parquet"
        seed = manifest["seeds"]["sample"]
        sampler.write_rows(rows, release.row_count, seed=seed, progress=progress)
        bind(warehouse, rows, {n: Bound(**it) for n, it in manifest.get("references", {}).items()}, seed)
        return Reproduction(release, first_difference(warehouse, release, rows))
