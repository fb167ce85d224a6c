"""Kill -9 at seeded random instants of the whole job; the served release must always be a whole accepted one.

    python benchmarks/crashes.py --kills 200

Each attempt is a process of its own that runs snapshot, training, export, sampling, gate, publication,
retention and rollback on a table of the demo. A phase is drawn, and an instant within the time that it took
in a run that was not disturbed; there the process is killed. Then another process opens the warehouse and holds
it to the rules, cleans (as `tabdar clean --older-than 0` does), and holds it to more. The last attempts are left
alone, and must finish. Exit status 1 where a rule was broken.
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
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch  # loaded once, before processes are forked  # noqa: F401
from quality import machine

from tabdar_pipeline.assets import leftovers, refreshing, steps
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.quality import report  # likewise  # noqa: F401
from tabdar_pipeline.release.refresh import Way
from tabdar_pipeline.warehouse.demo import build_demo
from tabdar_pipeline.warehouse.digest import rows_hash
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import releases, rollback, verify

RECORD = Path(__file__).parent / "results" / "crashes.json"
TARGET = "synthetic.customers"
PHASES = (
    "snapshot",
    "drift",
    "training",
    "export",
    "sampling",
    "gate",
    "publication",
    "retention",
    "rollback",
)
FORK = multiprocessing.get_context("fork")
# A model of one epoch is no good one: what is tested is what becomes of it, not what it is.
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
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        build_demo(root / "demo.duckdb", rows=600)
        attempt(root)  # the first run of a machine is slower
        seconds = attempt(root)
        killed: Counter[str] = Counter()
        broken = []
        for k in range(args.kills):
            phase = str(rng.choice(PHASES))
            after = float(rng.uniform(0, seconds[phase]))
            hit = phase if attempt(root, phase, after).get("finished") is None else "finished before"
            killed[hit] += 1
            broken += [{"kill": k, "phase": phase, "after_s": after, "rule": rule} for rule in rules(root)]
            print(f"\r{k + 1} of {args.kills} killed, {len(broken)} rules broken", end="", file=sys.stderr)
        last = [attempt(root).get("finished") is not None for _ in range(2)]
        record = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "version": version("tabdar-pipeline"),
            "seed": args.seed,
            "seconds_by_phase": {phase: round(seconds[phase], 3) for phase in PHASES},
            "killed_in": dict(killed),
            "rules_broken": broken,
            "left_alone_and_finished": last,
            "releases": elsewhere(released, root),
        }
    RECORD.write_text(json.dumps(record, indent=1))
    print(json.dumps(record, indent=1))
    return 0 if not broken and all(last) else 1


def attempt(root: Path, phase: str | None = None, after: float = 0.0) -> dict[str, float]:
    """Run the job in a process; kill it so many seconds after that phase began. Seconds of each phase."""
    ours, theirs = FORK.Pipe(duplex=False)
    process = FORK.Process(target=job, args=(root, theirs))
    process.start()
    theirs.close()
    begun: dict[str, float] = {}
    while True:
        try:
            told = ours.recv()
        except EOFError:
            break
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
    return spent | ({"finished": 1.0} if process.exitcode == 0 else {})


def job(root: Path, tell: Connection) -> None:
    """The whole job; each phase is announced."""
    made, warehouse = plan(root), Warehouse(root / "demo.duckdb")
    actions = {
        "snapshot": lambda: steps.take_snapshot(made, warehouse),
        "drift": lambda: refreshing.decide_refresh(made, warehouse, Way.FIT),
        "training": lambda: steps.fit_model(made, lambda _: None),
        "export": lambda: steps.export_model(made),
        "sampling": lambda: steps.draw_candidate(made, warehouse, lambda _done, _rows: None),
        "gate": lambda: steps.judge_candidate(made, lambda _what, _share: None),
        "publication": lambda: steps.publish_release(made, warehouse),
        "retention": lambda: steps.retire_old(made, warehouse),
        "rollback": lambda: rollback(warehouse, TARGET, earliest(warehouse)),
    }
    for phase in PHASES:
        tell.send(phase)
        actions[phase]()
    tell.send("end")


def plan(root: Path) -> Plan:
    table = SyntheticTable.from_attributes_dict(
        attributes={
            "source": {"database": str(root / "demo.duckdb"), "table": "crm.customers"},
            "train": {"epochs": 1},
            "target": TARGET,
            "policy": LENIENT,
            "storage": str(root / "run"),
            "folder": str(root / "releases"),
            "keep": 3,
        }
    )
    return table.plan(root)


def earliest(warehouse: Warehouse) -> int:
    return min(r.number for r in releases(warehouse, TARGET) if r.retired is None)


def rules(root: Path) -> list[str]:
    """What is broken, as another process sees it."""
    return elsewhere(held, root)


def elsewhere(function: Callable[[Path], Any], root: Path) -> Any:
    """What a function gives in a process of its own: this one must hold no warehouse open."""
    ours, theirs = FORK.Pipe(duplex=False)
    process = FORK.Process(target=lambda: theirs.send(function(root)))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        process.join()


def held(root: Path) -> list[str]:
    """What is broken as the job was left; and after it was cleaned."""
    warehouse = Warehouse(root / "demo.duckdb")
    broken = [f"as left: {rule}" for rule in serves(warehouse)]
    clean(root, warehouse)
    return broken + [f"cleaned: {rule}" for rule in [*serves(warehouse), *whole(warehouse), *orphaned(root)]]


def serves(warehouse: Warehouse) -> list[str]:
    """One whole accepted release is served."""
    found = releases(warehouse, TARGET)
    with warehouse.connect(read_only=True) as connection:
        seen = rows_hash(connection, f"SELECT * FROM {TARGET}")
    serving = [r for r in found if r.served]
    broken = [f"{r.identifier} was refused" for r in found if not r.manifest["decision"]["passed"]]
    if len(serving) != 1:
        return [*broken, f"{len(serving)} releases are served"]
    if seen != serving[0].rows_hash:
        broken.append(f"the view shows other rows than {serving[0].identifier}")
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


def clean(root: Path, warehouse: Warehouse) -> None:
    published = leftovers.settle_copies(warehouse, root / "releases")
    targets, at_once = {r.target for r in published}, timedelta(0)
    leftovers.remove(leftovers.in_storage(root / "run", targets, at_once))
    leftovers.remove(leftovers.in_copies(root / "releases", at_once))


def orphaned(root: Path) -> list[str]:
    """Files and folders of the job that no run and no release needs."""
    known = {"demo.duckdb", "demo.duckdb.wal", "run", "releases"}  # DuckDB keeps its log of a killed writer
    hidden = [p for p in root.rglob("*") if p.name.startswith(".")]
    return [f"orphan {p.relative_to(root)}" for p in [*root.iterdir(), *hidden] if p.name not in known]


def released(root: Path) -> dict[str, int]:
    found = releases(Warehouse(root / "demo.duckdb"), TARGET)
    return {"published": len(found), "kept": sum(r.retired is None for r in found)}


if __name__ == "__main__":
    sys.exit(main())
