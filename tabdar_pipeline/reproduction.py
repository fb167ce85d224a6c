"""A release drawn again from its manifest: the same model and seed give the same rows, or the first that differs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tabdar_pipeline.conditions import Conditions, resolve
from tabdar_pipeline.errors import ModelDirectoryError, UsageError
from tabdar_pipeline.imputation import Progress
from tabdar_pipeline.predicates import of_part
from tabdar_pipeline.runtime import FREE, OnnxSampler
from tabdar_pipeline.sampling.draws import BLOCK_ROWS, Place
from tabdar_pipeline.schemas.partitions import Part
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.references import Bound, bind
from tabdar_pipeline.warehouse.releases import Release, refuse_retired
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
    warehouse: Warehouse, release: Release, model: Path, progress: Progress = lambda _done, _rows: None
) -> Reproduction:
    """Draw a release again with its model, and compare it with what was published, row by row.

    Raises ModelDirectoryError where the directory holds another model, UsageError where the release was imputed.
    """
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
        drawn = manifest.get("partition") or {}
        place = Place(**drawn.get("place", {}))
        sampler.write_rows(
            rows,
            release.row_count,
            seed=seed,
            conditions=_conditions(sampler, drawn),
            place=place,
            progress=progress,
        )
        bound = {n: Bound(**it) for n, it in manifest.get("references", {}).items()}
        bind(warehouse, rows, bound, place.seed(seed))
        return Reproduction(release, first_difference(warehouse, release, rows))


def _conditions(sampler: OnnxSampler, partition: Mapping[str, Any]) -> Conditions:
    """What the rows of a partition were asked for by; nothing, of a model that knew no others."""
    if partition.get("models") != "one":
        return FREE
    return resolve(sampler.codec, sampler.schema, of_part(Part(**partition["part"])))
