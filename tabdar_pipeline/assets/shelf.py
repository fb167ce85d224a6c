"""Records that pass from asset to asset: JSON files in the table's home, written whole or not at all."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from tabdar_pipeline.errors import SourceError, StorageError
from tabdar_pipeline.warehouse.files import partial_file
from tabdar_pipeline.warehouse.snapshot import Snapshot

Record = TypeVar("Record")


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Where to write a file aside, that is then renamed into place; what is not whole goes, whatever cuts it off."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial_file(path.parent) as partial:
            yield partial
            partial.replace(path)
    except OSError as error:
        raise StorageError(
            f"{str(path)!r} must be written, however: {error.strerror or error}. Free space or choose "
            "another `storage`."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a file whole, or not at all."""
    with written(path) as partial:
        partial.write_text(text, encoding="utf-8")


def put(home: Path, name: str, record: Any) -> None:
    """Keep a dataclass record under a name."""
    write_text(home / f"{name}.json", json.dumps(asdict(record), default=str, indent=1))


def get(home: Path, name: str) -> dict[str, Any]:
    """The record kept under a name."""
    path = home / f"{name}.json"
    if not path.is_file():
        raise SourceError(
            f"{str(path)!r} must be there, however the step before has not run. "
            f"Materialize {name!r} of this table first."
        )
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def snapshot(home: Path) -> Snapshot:
    """The one that was taken last."""
    record = get(home, "snapshot")
    return Snapshot(**{**record, "path": Path(record["path"])})
