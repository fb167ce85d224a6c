"""A model directory: JSON and safetensors, a manifest of hashes, never pickle.

model.json            sizes, settings, seed, history, versions, format
schema.json           the table's columns
codec.json            columns to numbers and back
weights.safetensors   the network
backbone.onnx, query.onnx, denoiser.onnx   once exported
manifest.json         SHA-256 of each of them
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabdar_pipeline.codec.table import TableCodec
from tabdar_pipeline.errors import ModelDirectoryError, StorageError, TabdarError
from tabdar_pipeline.schemas.table import TableSchema

FORMAT = 1
_MEANINGLESS = (  # what reading nonsense may raise; RuntimeError has recursion and what is not implemented
    *(TabdarError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError),
    *(RuntimeError, StopIteration, MemoryError, OSError),
)
_PARTS = {"config": dict, "settings": dict, "history": list}  # of model.json
MODEL, SCHEMA, CODEC = "model.json", "schema.json", "codec.json"
WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"


@dataclass(frozen=True, slots=True)
class Description:
    """All of a model but its weights; readable without torch."""

    model: Mapping[str, Any]
    schema: TableSchema
    codec: TableCodec
    fingerprint: str  # SHA-256 over model, schema, codec and weights


def describe(folder: Path) -> Description:
    """Read and verify a model directory; raises ModelDirectoryError."""
    manifest = verify(folder)
    with parsing(folder):
        codec = TableCodec.from_json(_read(folder / CODEC))
        schema = TableSchema.from_json(_read(folder / SCHEMA))
        model = _read(folder / MODEL)
        _refuse_strangers(codec, schema, model)
        return Description(model, schema, codec, fingerprint(manifest))


@contextmanager
def parsing(folder: Path) -> Iterator[None]:
    """What a file of a model directory cannot mean is a ModelDirectoryError, whoever wrote and sealed it."""
    try:
        yield
    except ModelDirectoryError:
        raise
    except _MEANINGLESS as error:
        raise ModelDirectoryError(
            f"{str(folder)!r} must hold what `tabdar fit` writes, however it does not: "
            f"{type(error).__name__}: {error}. Restore it, or fit again."
        ) from error


def _refuse_strangers(codec: TableCodec, schema: TableSchema, model: Any) -> None:
    """Raise ValueError where the files are not of one model."""
    names = [column.name for column in schema.columns if not column.modelled]
    if len(codec.columns) != len(schema.modelled) or sorted(codec.made) != sorted(names):
        raise ValueError(f"{CODEC} is of other columns than {SCHEMA}")
    if not all(isinstance(model[name], kind) for name, kind in _PARTS.items()):
        raise ValueError(f"{MODEL} must have {', '.join(_PARTS)}")


def fingerprint(files: Mapping[str, str]) -> str:
    """One hash for a model, whether exported or not."""
    parts = [files[name] for name in (SCHEMA, CODEC, WEIGHTS)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def verify(folder: Path) -> dict[str, str]:
    """The hashes of the manifest, each checked against its file."""
    if not (folder / MANIFEST).is_file():
        raise ModelDirectoryError(
            f"a model directory must hold {MANIFEST}, however {str(folder)!r} has none. "
            "Name a directory that `tabdar fit` wrote."
        )
    manifest = _read(folder / MANIFEST)
    with parsing(folder):
        return _verified(folder, manifest)


def _verified(folder: Path, manifest: Any) -> dict[str, str]:
    if manifest.get("format", 0) > FORMAT:
        raise ModelDirectoryError(
            f"{str(folder)!r} must be of format {FORMAT} or older, however it is of format "
            f"{manifest['format']}. Upgrade tabdar-pipeline."
        )
    files: dict[str, str] = manifest["files"]
    missing = sorted({MODEL, SCHEMA, CODEC, WEIGHTS} - set(files))
    if missing:
        raise ModelDirectoryError(
            f"{str(folder)!r} must list {', '.join(missing)} in {MANIFEST}, however it does not. "
            "Restore it, or fit again."
        )
    for name, expected in files.items():
        path = folder / Path(name).name
        if not path.is_file():
            raise ModelDirectoryError(
                f"{str(folder)!r} must hold {name!r}, however it is missing: the directory is torn. "
                "Restore it, or fit again."
            )
        if file_hash(path) != expected:
            raise ModelDirectoryError(
                f"{str(path)!r} must have the hash in {MANIFEST}, however it was altered. "
                "Restore it, or fit again."
            )
    return files


def write(folder: Path, records: Mapping[str, Any], weights: bytes, files: Mapping[str, Path]) -> None:
    """Write a model directory as a whole or not at all: aside first, then renamed into place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, record in records.items():
            (aside / name).write_text(json.dumps(record), encoding="utf-8")
        (aside / WEIGHTS).write_bytes(weights)
        for name, path in files.items():
            shutil.copyfile(path, aside / name)
        seal(aside)
        _replace(aside, folder)
    except OSError as error:
        raise StorageError(
            f"the model must be written to {str(folder)!r}, however: {error.strerror or error}. "
            "Free space or choose another directory."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def seal(folder: Path) -> None:
    """Write the manifest of what the folder holds."""
    hashes = {p.name: file_hash(p) for p in sorted(folder.iterdir()) if p.name != MANIFEST}
    text = json.dumps({"format": FORMAT, "files": hashes}, indent=1)
    partial = folder / f".{MANIFEST}"
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / MANIFEST)


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _replace(aside: Path, folder: Path) -> None:
    """Rename into place; a directory that stood there goes only if it is a model of ours."""
    aside.chmod(0o755)
    if folder.exists():
        if any(folder.iterdir()) and not (folder / MANIFEST).is_file():
            raise StorageError(
                f"{str(folder)!r} must be empty or a model directory, however it holds other "
                "files. Choose another directory."
            )
        old = folder.with_name(f".{folder.name}-{os.getpid()}-old")
        folder.rename(old)
        aside.rename(folder)
        shutil.rmtree(old)
    else:
        aside.rename(folder)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelDirectoryError(
            f"{str(path)!r} must be readable JSON, however: {error}. Restore it, or fit again."
        ) from error
