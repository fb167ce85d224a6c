"""A release as a folder that can be handed on: rows, manifest, and the documents that go with them."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.warehouse.catalog import carried, describe
from tabdar_pipeline.warehouse.duckdb import Warehouse, storage_error
from tabdar_pipeline.warehouse.files import write_query
from tabdar_pipeline.warehouse.names import Relation
from tabdar_pipeline.warehouse.releases import Release, find, refuse_retired


@dataclass(frozen=True, slots=True)
class Exported:
    """A release with the types and comments of its columns."""

    release: Release
    types: Mapping[str, str]
    comments: Mapping[str, str]


def export(
    warehouse: Warehouse,
    target: str,
    folder: Path,
    documents: Callable[[Exported], Mapping[str, str]],
    number: int | None = None,
    partition: str | None = None,
) -> Release:
    """Write the folder, whole or not at all; raises UsageError where it exists."""
    if folder.exists():
        raise UsageError(f"{str(folder)!r} must be new, however it exists. Name another folder.")
    release = find(warehouse, target, number, partition)
    refuse_retired(release)
    table = describe(warehouse, release.relation)
    texts = documents(Exported(release, table.sql_types, table.comments))
    partial = folder.with_name(f".{folder.name}-{uuid4().hex[:8]}")
    try:
        partial.mkdir(parents=True)
        with warehouse.connect(read_only=True) as connection:
            write_query(
                connection,
                carried(Relation.parse(release.relation), table.sql_types),
                partial / "data.parquet",
            )
        manifest = json.dumps(release.manifest, indent=1)
        for name, text in {"manifest.json": manifest, **texts}.items():
            (partial / name).write_text(text, encoding="utf-8")
        partial.rename(folder)
    except OSError as error:
        raise storage_error(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return release
