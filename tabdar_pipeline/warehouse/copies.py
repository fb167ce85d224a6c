"""The copy of a release as parquet in a folder, beside its manifest.

    <folder>/<target>/.r0001-<8 hex>    staged: written and flushed before the transaction commits
    <folder>/<target>/r0001             settled: renamed after the transaction has committed

The warehouse is the truth. What is staged belongs to a release exactly where its manifest is the one
in tabdar.releases: then the next publication settles it, and any other leftover is removed. So a
reader who looks at names without a dot never sees a row that was not published, nor half a file.
"""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from tabdar_pipeline.errors import StorageError
from tabdar_pipeline.warehouse.catalog import carried
from tabdar_pipeline.warehouse.duckdb import Connection, storage_error
from tabdar_pipeline.warehouse.files import write_query
from tabdar_pipeline.warehouse.names import Relation
from tabdar_pipeline.warehouse.releases import Release, text_hash

_STAGED = re.compile(r"\.r(\d{4,})-[0-9a-f]{8}")
_DATA, _MANIFEST = "data.parquet", "manifest.json"


def copy_path(folder: Path, target: Relation, number: int) -> Path:
    """Where the copy of a release will be."""
    return folder.absolute() / target.folder / f"r{number:04d}" / _DATA


def stage(connection: Connection, release: Release, types: dict[str, str], manifest: str) -> Path:
    """Write the release's rows and manifest beside where they will be, down to the disk."""
    assert release.copy is not None
    final = release.copy.parent
    _refuse_foreign_copy(release.copy)
    staged = final.with_name(f".{final.name}-{uuid4().hex[:8]}")
    try:
        staged.mkdir(parents=True)
        write_query(connection, carried(Relation.parse(release.relation), types), staged / _DATA)
        with (staged / _MANIFEST).open("w", encoding="utf-8") as file:
            file.write(manifest)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        discard(staged)
        raise storage_error(staged, error) from error
    except BaseException:
        discard(staged)
        raise
    return staged


def settle(folder: Path, target: Relation, published: Iterable[Release]) -> None:
    """Rename what is staged for these releases, and remove what a crash left under their numbers."""
    by_number = {release.number: release for release in published}
    try:
        for staged in sorted((folder / target.folder).glob(".r*")):
            match = _STAGED.fullmatch(staged.name)
            if match and int(match[1]) in by_number:
                _settle_one(staged, by_number[int(match[1])])
    except OSError as error:
        raise storage_error(folder, error) from error


def discard(staged: Path) -> None:
    """Remove what was staged."""
    shutil.rmtree(staged, ignore_errors=True)


def put_away(folder: Path) -> None:
    """Rename a folder out of sight, then remove it: no reader sees half of one. Gone already, it stays so."""
    hidden = folder.with_name(f".retired-{folder.name}")
    try:
        folder.rename(hidden)
        shutil.rmtree(hidden)
    except FileNotFoundError:  # another run was faster
        return
    except OSError as error:
        raise storage_error(folder, error) from error


def _refuse_foreign_copy(copy: Path) -> None:
    """A path of a release is immutable: what another warehouse put there stays."""
    if copy.parent.exists():
        raise StorageError(
            f"folder {str(copy.parent)!r} must be free for the next release, however it holds a release "
            "that is not in this warehouse. Move it away, or name another folder; nothing was published."
        )


def _settle_one(staged: Path, release: Release) -> None:
    if not manifest_is_of(staged, release):
        discard(staged)
        return
    final = staged.with_name(f"r{release.number:04d}")
    try:
        staged.rename(final)
    except FileNotFoundError:  # another process was faster
        return


def manifest_is_of(folder: Path, release: Release) -> bool:
    """Whether the manifest in a folder is the one of that release."""
    try:
        text = (folder / _MANIFEST).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return text_hash(text) == release.manifest_hash
