"""Kill -9 at seeded random instants of the whole job; the served release must always be a whole accepted one.

    python benchmarks/crashes.py --kills 200
    python benchmarks/crashes.py --kills 100 --partitions north south

Each attempt is a process of its own that runs snapshot, training, export, sampling, gate, publication,
retention and rollback on a table of the demo. A phase is drawn, and an instant within the time that it took
in a run that was not disturbed; there the process is killed. Then another process opens the warehouse and holds
it to the rules; after every other kill it cleans (as `tabdar clean --older-than 0` does), and holds it to more. After
the others the next attempt finds what was left: a training that was killed goes on from the state it kept, which it
does every half second. The last attempts are left alone, and must finish. With partitions, one model learns all rows and each partition is sampled, judged and published by itself.
Exit status 1 where a rule was broken, or no training of many went on.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch  # loaded once, before processes are forked  # noqa: F401
from quality import machine

from tabdar_pipeline import fitting
from tabdar_pipeline.assets import leftovers, refreshing, steps
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.model.training import EpochRecord
from tabdar_pipeline.quality import report  # likewise  # noqa: F401
from tabdar_pipeline.release.refresh import Way
from tabdar_pipeline.warehouse.demo import build_demo
from tabdar_pipeline.warehouse.digest import rows_hash
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import releases, rollback, verify

RECORDS = Path(__file__).parent / "results" / "crashes.json"
TARGET = "synthetic.customers"
RESUMED = "resumed"  # told by a job whose training went on
RECORDS = 24  # of a training
MANY = 20  # kills, of which some must be in training
FORK = multiprocessing.get_context("fork")
# A model of a few epochs is no good one: what is tested is what becomes of it, not what it is.
LENIENT = {
    "shape_error": 100,
    "trend_error": 100,
    "c2st_boosted": 0.5,
    "utility_gap": 1,
    "dcr_share": 0.5,
    "copies": 1,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--partitions", nargs="*", default=[], help="regions; none: the table as a whole")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        trial = Trial(Path(scratch), tuple(args.partitions))
        build_demo(trial.database, rows=600)
        attempt(trial)  # the first run of a machine is slower
        seconds = attempt(trial)
        phases = [name for name in seconds if name != "finished"]
        killed: Counter[str] = Counter()
        resumed = 0
        broken = []
        for k in range(args.kills):
            phase = str(rng.choice(phases))
            after = float(rng.uniform(0, seconds[phase]))
            told = attempt(trial, phase, after)
            resumed += RESUMED in told
            killed[phase if "finished" not in told else "finished before"] += 1
            found = elsewhere(held_when_cleaned if k % 2 else held, trial)
            broken += [{"kill": k, "phase": phase, "after_s": after, "rule": rule} for rule in found]
            print(f"\r{k + 1} of {args.kills} killed, {len(broken)} rules broken", end="", file=sys.stderr)
        last = ["finished" in attempt(trial) for _ in range(2)]
        record = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "version": version("tabdar-pipeline"),
            "seed": args.seed,
            "partitions": args.partitions,
            "seconds_by_phase": {phase: round(seconds[phase], 3) for phase in phases},
            "killed_in": dict(killed),
            "trainings_that_went_on": resumed,
            "rules_broken": broken,
            "left_alone_and_finished": last,
            "releases": elsewhere(released, trial),
        }
    records = json.loads(RECORDS.read_text()) if RECORDS.is_file() else []
    RECORDS.write_text(json.dumps([*records, record], indent=1))
    print(json.dumps(record, indent=1))
    return 0 if not broken and all(last) and (resumed or args.kills < MANY) else 1


@dataclass(frozen=True, slots=True)
class Trial:
    """A folder with a warehouse of one table, and the partitions that are released; none: the whole."""

    root: Path
    partitions: tuple[str, ...]

    @property
    def database(self) -> Path:
        return self.root / "demo.duckdb"

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(self.database)


def attempt(trial: Trial, phase: str | None = None, after: float = 0.0) -> dict[str, float]:
    """Run the job in a process; kill it so many seconds after that phase began. Seconds of each phase, and what it told."""
    ours, theirs = FORK.Pipe(duplex=False)
    process = FORK.Process(target=job, args=(trial, theirs))
    process.start()
    theirs.close()
    begun: dict[str, float] = {}
    resumed: dict[str, float] = {}
    while True:
        try:
            told = ours.recv()
        except EOFError:
            break
        if told == RESUMED:
            resumed = {RESUMED: 1.0}
            continue
        begun[told] = time.perf_counter()
        if told == phase and process.is_alive():
            time.sleep(max(0.0, after - (time.perf_counter() - begun[phase])))
            os.kill(process.pid, signal.SIGKILL)
            break
    process.join()
    names = [*begun]
    spent = {a: begun[b] - begun[a] for a, b in pairwise(names)}
    if phase is None and process.exitcode != 0:
        raise SystemExit(f"the job failed by itself with {process.exitcode}: see above")
    return spent | resumed | ({"finished": 1.0} if process.exitcode == 0 else {})


def job(trial: Trial, tell: Connection) -> None:
    """The whole job; each phase is announced."""
    fitting.KEEP_EVERY_S = 0.5
    for phase, act in actions(trial, tell):
        tell.send(phase)
        act()
    tell.send("end")


def actions(trial: Trial, tell: Connection) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What the job does, in order."""
    made, warehouse = plan(trial), trial.warehouse
    yield "snapshot", lambda: steps.take_snapshot(made, warehouse)
    yield "drift", lambda: refreshing.decide_refresh(made, warehouse, Way.FIT)
    yield "training", lambda: train(made, tell)
    yield "export", lambda: steps.export_model(made)
    for part in trial.partitions or (None,):
        one, of = (made, "") if part is None else (made.of(part), f" of {part}")
        yield f"sampling{of}", lambda one=one: steps.draw_candidate(one, warehouse, lambda _done, _rows: None)
        yield f"gate{of}", lambda one=one: steps.judge_candidate(one, lambda _what, _share: None)
        yield f"publication{of}", lambda one=one: steps.publish_release(one, warehouse)
    yield "retention", lambda: steps.retire_old(made, warehouse)
    yield "rollback", lambda: rollback(warehouse, TARGET, earliest(warehouse))


def train(made: Plan, tell: Connection) -> None:
    """Fit the model, and tell whether training went on from a state that was kept."""
    budgets: list[float] = []

    def note(record: EpochRecord) -> None:
        budgets.append(record.budget)
        if len(budgets) == 1 and record.budget > 2 / RECORDS:
            tell.send(RESUMED)

    steps.fit_model(made, note)


def plan(trial: Trial) -> Plan:
    parts = {"partitions": {"column": "region", "values": list(trial.partitions)}} if trial.partitions else {}
    table = SyntheticTable.from_attributes_dict(
        attributes={
            "source": {"database": str(trial.database), "table": "crm.customers"},
            "train": {"epochs": 5},
            "target": TARGET,
            "policy": LENIENT,
            "storage": str(trial.root / "run"),
            "folder": str(trial.root / "releases"),
            "keep": 3,
            **parts,
        }
    )
    return table.plan(trial.root)


def earliest(warehouse: Warehouse) -> int:
    return min(r.number for r in releases(warehouse, TARGET) if r.retired is None)


def elsewhere(function: Callable[[Trial], Any], trial: Trial) -> Any:
    """What a function gives in a process of its own: this one must hold no warehouse open."""
    ours, theirs = FORK.Pipe(duplex=False)
    process = FORK.Process(target=lambda: theirs.send(function(trial)))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        process.join()


def held(trial: Trial) -> list[str]:
    """What is broken as the job was left."""
    return [f"as left: {rule}" for rule in serves(trial)]


def held_when_cleaned(trial: Trial) -> list[str]:
    """What is broken as the job was left; and after it was cleaned."""
    broken = held(trial)
    clean(trial)
    after = [*serves(trial), *whole(trial.warehouse), *orphaned(trial)]
    return broken + [f"cleaned: {rule}" for rule in after]


def serves(trial: Trial) -> list[str]:
    """One whole accepted release is served, of each partition."""
    found = releases(trial.warehouse, TARGET)
    serving = [r for r in found if r.served]
    broken = [f"{r.identifier} was refused" for r in found if not r.manifest["decision"]["passed"]]
    if sorted(str(r.partition) for r in serving) != sorted(map(str, trial.partitions or (None,))):
        return [*broken, f"{[r.identifier for r in serving]} are served"]
    for release in serving:
        rows, values = f"SELECT * FROM {TARGET}", []
        if release.partition is not None:
            rows, values = f"{rows} WHERE region = ?", [release.partition]
        with trial.warehouse.connect(read_only=True) as connection:
            connection.execute(f"CREATE TEMP TABLE seen AS {rows}", values)
            if rows_hash(connection, "SELECT * FROM seen") != release.rows_hash:
                broken.append(f"the view shows other rows than {release.identifier}")
    return broken


def whole(warehouse: Warehouse) -> list[str]:
    """Every release that is kept is as it was published, its copy too, and no table is nobody's."""
    kept = [r for r in releases(warehouse, TARGET) if r.retired is None]
    checks = [verify(warehouse, TARGET, r.number) for r in kept]
    broken = [f"{it.release.identifier}: {it.problems}" for it in checks if not it]
    with warehouse.connect(read_only=True) as connection:
        names = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'customers\\_\\_r%' ESCAPE '\\'"
        ).fetchall()
    if {name for (name,) in names} != {r.relation.split(".")[-1] for r in kept}:
        broken.append(f"tables {names}, releases {[r.relation for r in kept]}")
    return broken


def clean(trial: Trial) -> None:
    root = trial.root
    published = leftovers.settle_copies(trial.warehouse, root / "releases")
    at_once = timedelta(0)
    leftovers.remove(leftovers.in_storage(root / "run", published, at_once))
    leftovers.remove(leftovers.in_copies(root / "releases", at_once))


def orphaned(trial: Trial) -> list[str]:
    """Files and folders of the job that no run and no release needs."""
    root = trial.root
    known = {"demo.duckdb", "demo.duckdb.wal", "run", "releases"}  # DuckDB keeps its log of a killed writer
    strangers = [p for p in root.iterdir() if p.name not in known]
    hidden = [p for p in root.rglob("*") if p.name.startswith(".")]
    homes = [root / "run" / TARGET, *(root / "run" / TARGET).glob("partitions/*")]
    states = [p for home in homes for p in home.glob("training/*")]
    snapshots = [p for home in homes for p in home.glob("snapshots/*.parquet") if p.stem not in named(home)]
    return [f"orphan {p.relative_to(root)}" for p in [*strangers, *hidden, *states, *snapshots]]


def named(home: Path) -> str:
    """The records of a home that name snapshots."""
    records = (home / "snapshot.json", home / "served" / "served.json")
    return "".join(record.read_text() for record in records if record.is_file())


def released(trial: Trial) -> dict[str, int]:
    found = releases(trial.warehouse, TARGET)
    return {"published": len(found), "kept": sum(r.retired is None for r in found)}


if __name__ == "__main__":
    sys.exit(main())
