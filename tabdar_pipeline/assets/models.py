"""The models of releases, kept as long as the rows of one that they made.

    <storage>/<target>/models/<fingerprint>    a model directory, shared by the releases of that model

A directory is written aside and renamed, before its release is published: no release is without one, none is half.
"""

import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from uuid import uuid4

from tabdar_pipeline import checkpoint
from tabdar_pipeline.errors import ModelDirectoryError, StorageError
from tabdar_pipeline.warehouse.copies import put_away
from tabdar_pipeline.warehouse.names import Relation, path_part
from tabdar_pipeline.warehouse.releases import Release

FOLDER = "models"


def at(storage: Path, target: str, fingerprint: str) -> Path:
    """Where a model of a target is kept."""
    return storage / Relation.parse(target).folder / FOLDER / path_part(fingerprint)


def keep(storage: Path, target: str, model: Path, made: str) -> Path:
    """Keep the model of this fingerprint, where it is not kept already; raises StorageError.

    `model` may be a table's that another run refreshes: what was copied is what counts.
    """
    kept = at(storage, target, made)
    if _is_whole(kept):
        return kept
    aside = kept.with_name(f".{kept.name}-{uuid4().hex[:8]}")
    try:
        shutil.copytree(model, aside)
        _refuse_another(aside, model, made)
        if kept.exists():
            shutil.rmtree(kept)
        aside.rename(kept)
    except OSError as error:
        if _is_whole(kept):  # another partition was faster
            return kept
        raise StorageError(
            f"the model must be kept as {str(kept)!r}, however: {error.strerror or error}. Nothing was published. "
            "Free space or choose another `storage`."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return kept


def of(storage: Path, release: Release) -> Path:
    """The kept model of a release; raises ModelDirectoryError where there is none."""
    kept = _kept(storage, release)
    if kept is None:
        raise ModelDirectoryError(
            f"the model of {release.identifier!r} must be kept under {str(storage)!r}, however it is not there. "
            "Name the `storage` of its table with --storage, or the model's directory with --model."
        )
    return kept


def problem(storage: Path, release: Release, model: Path | None = None) -> str | None:
    """What is wrong with the model of a release, the named one or the kept one; None where nothing is, or none is kept."""
    folder = model or _kept(storage, release)
    if folder is None:
        return None
    try:
        found = checkpoint.fingerprint(checkpoint.verify(folder))
    except ModelDirectoryError as error:
        return f"its model cannot be used: {error}"
    made = release.manifest.get("model_fingerprint")
    return None if found == made else f"model {str(folder)!r} is {found}, and {made} made it"


def forget(storage: Path, found: Iterable[Release], needed: Collection[str]) -> None:
    """Remove the models of retired releases but those that are needed."""
    for release in found:
        kept = _kept(storage, release)
        if kept is None or not release.retired or release.manifest["model_fingerprint"] in needed:
            continue
        put_away(kept)


def _refuse_another(copy: Path, model: Path, made: str) -> None:
    """Raise StorageError where what was copied is not the model that is meant."""
    try:
        found = checkpoint.fingerprint(checkpoint.verify(copy))
    except ModelDirectoryError:
        found = "none that is whole"
    if found != made:
        raise StorageError(
            f"{str(model)!r} must hold model {made} until it is kept, however by then it held {found}: another run "
            "replaced it. Nothing was published. Run again."
        )


def _kept(storage: Path, release: Release) -> Path | None:
    made = release.manifest.get("model_fingerprint")
    folder = None if made is None else at(storage, release.target, made)
    return folder if folder is not None and folder.is_dir() else None


def _is_whole(folder: Path) -> bool:
    try:
        checkpoint.verify(folder)
    except ModelDirectoryError:
        return False
    return True
