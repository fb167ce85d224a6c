"""What runs that were cut off left behind, found by name and age; never what a run or a release may need.

    <home>/.*   snapshots/.*   models/.*    written aside, and never renamed into place; of partitions, too
    <home>                                  the run data of a target that has no release
    <folder>/<target>/.r0001-*  .retired-*  copies that no release has, or none any more

What a live run writes aside is young: nothing is a leftover before it has lain untouched for an age.
"""

import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tabdar_pipeline.assets.plan import PARTITIONS
from tabdar_pipeline.warehouse.copies import settle
from tabdar_pipeline.warehouse.duckdb import Warehouse, storage_error
from tabdar_pipeline.warehouse.names import Relation
from tabdar_pipeline.warehouse.releases import Release, releases

DAY = timedelta(days=1)
_STAGED = (".r[0-9]*-*", ".retired-r[0-9]*")  # copies.py and retention.py name them so


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file or folder that nothing needs any more."""

    path: Path
    bytes: int
    reason: str


def remove(found: Iterable[Leftover]) -> None:
    """Remove what was found; raises StorageError where that cannot be."""
    for it in found:
        try:
            shutil.rmtree(it.path) if it.path.is_dir() else it.path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(it.path, error) from error


def in_home(home: Path, age: timedelta = DAY) -> list[Leftover]:
    """What was written aside in one table's run data, and never renamed into place."""
    reason = "written aside by a run that did not end"
    homes = [home, *(home / PARTITIONS).glob("*")]
    aside = (".*", "snapshots/.*", "models/.*")
    return [*_old([it for at in homes for name in aside for it in at.glob(name)], age, reason)]


def in_storage(storage: Path, targets: Collection[str], age: timedelta) -> list[Leftover]:
    """Leftovers in all run data, and the whole run data of what is none of the targets that have releases."""
    kept = {Relation.parse(target).folder for target in targets}
    homes = [it for it in _folders(storage) if "." in it.name and (it / "snapshots").is_dir()]
    lost = [it for it in homes if it.name not in kept]
    gone = [*_old(lost, age, "run data of a target that has no release")]
    paths = {it.path for it in gone}
    return [*gone, *(it for home in homes if home not in paths for it in in_home(home, age))]


def in_copies(folder: Path, age: timedelta) -> list[Leftover]:
    """What was staged for a release that was never published, or is retired but for its removal."""
    paths = [path for target in _folders(folder) for name in _STAGED for path in target.glob(name)]
    return [*_old(paths, age, "a copy that no release has")]


def settle_copies(warehouse: Warehouse, folder: Path) -> list[Release]:
    """Finish what publications that were cut off had staged in a folder; all releases of the warehouse."""
    published = releases(warehouse)
    for target in {release.target for release in published}:
        settle(folder, Relation.parse(target), [it for it in published if it.target == target])
    return published


def _folders(root: Path) -> list[Path]:
    return sorted(it for it in root.iterdir() if it.is_dir()) if root.is_dir() else []


def _old(paths: Iterable[Path], age: timedelta, reason: str) -> Iterator[Leftover]:
    """Those in which nothing was touched for that long."""
    before = time.time() - age.total_seconds()
    for path in sorted(paths):
        try:
            facts = [it.stat() for it in (path, *path.rglob("*"))]
        except FileNotFoundError:  # a live run has just renamed it
            continue
        if max(it.st_mtime for it in facts) <= before:
            yield Leftover(path, sum(it.st_size for it in facts), reason)
