"""What runs that were cut off left behind, found by name and age; never what a run or a release may need.

    <home>/.*   <home>/model/.*  ...        written aside, and never renamed into place; of partitions, too
    <home>/training                         a state of training that no run took up
    <home>/snapshots/*.parquet              named by neither the last snapshot nor the last release
    <home>/partitions/<key>                 of a partition that has no release, or that YAML no longer has
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
from urllib.parse import unquote

from tabdar_pipeline.assets import lease, models, served, shelf
from tabdar_pipeline.assets.plan import PARTITIONS, Plan
from tabdar_pipeline.warehouse.copies import settle
from tabdar_pipeline.warehouse.duckdb import Warehouse, storage_error
from tabdar_pipeline.warehouse.names import Relation, path_part
from tabdar_pipeline.warehouse.releases import Release, releases

DAY = timedelta(days=1)
_STAGED = (".r[0-9]*-*", ".retired-r[0-9]*")  # copies.py names them so
_TRAINING = "training"
_WRITTEN = ("model", "served", models.FOLDER, "snapshots", _TRAINING)  # where files are written aside
_OURS = (
    {*_WRITTEN, PARTITIONS, "contract.yaml", "report.html", lease.LOCK}
    | {
        f"{record}.json"
        for record in (lease.LEASE, "snapshot", "drift", "drawn", "judged", "filling", "tests")
    }
    | {f"{rows}.parquet" for rows in ("candidate", "filled", "imputed", "intervals")}
)


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
        except FileNotFoundError:  # another run was faster
            continue
        except OSError as error:
            raise storage_error(it.path, error) from error


def in_home(home: Path, age: timedelta = DAY) -> list[Leftover]:
    """What one table's run data hold, with those of its partitions, that no run goes on with."""
    found: list[Leftover] = []
    for at in (home, *_folders(home / PARTITIONS)):
        training = [at / _TRAINING] if any(at.glob(f"{_TRAINING}/*")) else []
        cut_off = [*_old(training, age, "training that was cut off, and that no run took up")]
        folders = [at / name for name in _WRITTEN if not cut_off or name != _TRAINING]
        aside = [it for folder in (at, *folders) for it in folder.glob(".*")]
        found += _old(aside, age, "written aside by a run that did not end")
        found += cut_off
        found += _old(unnamed_snapshots(at), age, "a snapshot that neither a run nor a release goes by")
    return found


def unnamed_snapshots(home: Path) -> list[Path]:
    """Snapshots that are neither the last one nor the one that the served model was fitted on."""
    named = set()
    if (home / "snapshot.json").is_file():
        named.add(shelf.snapshot(home).path.name)
    if (last := served.Served.read(home)) is not None:
        named.add(last.snapshot(home).name)
    return [it for it in home.glob("snapshots/[!.]*.parquet") if it.name not in named]


def in_partitions(plan: Plan, age: timedelta = DAY) -> list[Leftover]:
    """Run data of partitions that the plan no longer has."""
    parts = plan.partitions
    lost = [it for it in _folders(plan.root / PARTITIONS) if parts is None or not parts.has(unquote(it.name))]
    return [*_old(lost, age, "run data of a partition that is no longer asked for")]


def in_storage(storage: Path, published: Collection[Release], age: timedelta) -> list[Leftover]:
    """Leftovers in all run data, and the whole run data of targets and partitions that have no release."""
    kept: dict[str, set[str]] = {}
    for release in published:
        parts = kept.setdefault(Relation.parse(release.target).folder, set())
        if release.partition is not None and release.retired is None:
            parts.add(path_part(release.partition))
    homes = [it for it in _folders(storage) if _is_home(it)]
    lost = [it for it in homes if it.name not in kept]
    desks = [desk for it in homes if it.name in kept for desk in _folders(it / PARTITIONS)]
    gone = [*_old(lost, age, "run data of a target that has no release")]
    unreleased = [it for it in desks if it.name not in kept[it.parent.parent.name]]
    gone += _old(unreleased, age, "run data of a partition that has no release")
    gone += _old(_unmade(homes, published), age, "a model that no release was made by")
    paths = [it.path for it in gone]
    inside = [it for home in homes if home not in paths for it in in_home(home, age)]
    return [*gone, *(it for it in inside if not any(it.path.is_relative_to(path) for path in paths))]


def _unmade(homes: Iterable[Path], published: Collection[Release]) -> list[Path]:
    """Models that were kept for a release which was not published in the end."""
    needed = {it.manifest.get("model_fingerprint") for it in published if it.retired is None}
    found = []
    for home in homes:
        last = [served.Served.read(at) for at in (home, *_folders(home / PARTITIONS))]
        named = {
            path_part(it) for it in (*needed, *(it.model for it in last if it is not None)) if it is not None
        }
        found += [it for it in _folders(home / models.FOLDER) if it.name not in named and it.name[0] != "."]
    return found


def _is_home(folder: Path) -> bool:
    """Whether a folder of the storage is a table's run data, however little of it was written."""
    if "." not in folder.name:
        return False
    names = [it.name for it in folder.iterdir()]
    aside = tuple(f".{name}" for name in _OURS)
    ours = all(it in _OURS or it.startswith(aside) or it.endswith(".partial") for it in names)
    return "snapshots" in names or (bool(names) and ours)


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
