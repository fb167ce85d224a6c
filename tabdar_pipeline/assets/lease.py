"""Whose files these are: one run's at a time; what partitions share is read by the runs of several.

run.lock     of a folder: held by the process of a step while it works there, and gone with the process
lease.json   the runs that have begun to work in the folder; one that has ended counts no more
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tabdar_pipeline.assets import shelf
from tabdar_pipeline.assets.plan import PARTITIONS, Plan
from tabdar_pipeline.errors import TableInUse
from tabdar_pipeline.warehouse.duckdb import storage_error

LOCK, LEASE = "run.lock", "lease"
WAIT_S = 5.0  # for a lock that another process holds while it enters itself

Unfinished = Callable[[Collection[str]], Collection[str]]  # those of some runs that have not ended


@dataclass(frozen=True, slots=True)
class Lease:
    """The runs that work in a folder: a single one, or several that read what it holds."""

    alone: bool = True
    runs: tuple[str, ...] = ()


@contextmanager
def held(plan: Plan, run: str, unfinished: Unfinished) -> Iterator[None]:
    """Work in a table's folder, or a partition's, as a step of this run.

    Raises TableInUse where another run has not ended, or a process still works there.
    """
    if plan.part is not None:
        with _locked(plan.root, plan.target):
            _enter(plan.root, plan.target, Lease(False, (run,)), unfinished)
    with _locked(plan.desk, plan.target):
        if plan.part is None:
            _refuse_busy_partitions(plan)
        _enter(plan.desk, plan.target, Lease(True, (run,)), unfinished)
        yield


def _refuse_busy_partitions(plan: Plan) -> None:
    """Raise TableInUse where a process works in a partition, though its run may have been called off."""
    for lock in plan.root.glob(f"{PARTITIONS}/*/{LOCK}"):
        with _locked(lock.parent, plan.target):
            pass


def _enter(folder: Path, target: str, asked: Lease, unfinished: Unfinished) -> None:
    """Add a run to those that work in a folder."""
    before = Lease()
    if (folder / f"{LEASE}.json").is_file():
        before = Lease(**shelf.get(folder, LEASE))
    others = [run for run in unfinished(before.runs) if run not in asked.runs]
    if others and (asked.alone or before.alone):
        raise TableInUse(
            f"{target!r} must be worked on by one run at a time, however run {others[0]} has not ended. Wait for it, or "
            "cancel it in Dagster if it goes on no more."
        )
    alone = asked.alone or (before.alone and set(asked.runs) <= set(before.runs))
    shelf.put(folder, LEASE, Lease(alone, (*others, *asked.runs)))


@contextmanager
def _locked(folder: Path, target: str) -> Iterator[None]:
    """Hold a folder's lock."""
    from filelock import FileLock, Timeout

    path = folder / LOCK
    lock = FileLock(path, timeout=WAIT_S)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise TableInUse(
            f"{target!r} must be worked on by one run at a time, however another process holds {str(path)!r}. Wait for it, "
            "or stop it."
        ) from error
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        yield
    finally:
        lock.release()
