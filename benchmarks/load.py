"""Many tables in one collection: how long a night of refreshes takes, and how long their definitions take to load.

    python benchmarks/load.py FOLDER --tables 10 --seconds 60
    python benchmarks/load.py FOLDER --only 3        # one table, in a chunk of its own

FOLDER keeps the warehouse and the run data between chunks. Each table has 10,000 made-up customers of a seed of its own,
every second one with eight columns in place of all. A refresh is a process of its own, as the daemon would start it: snapshot, fit, export,
sampling, gate and release. Then comes what a tick of the schedule costs where nothing is new. What was measured
already is not measured again.
"""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import duckdb
from quality import machine, timed

RECORDS = Path(__file__).parent / "results" / "load.json"
ROWS, NIGHT = 10_000, 100  # rows of a table, tables of a night
FEW = ["region", "age", "plan", "orders", "spend", "average_order", "last_seen", "newsletter"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0, help="training budget of a table")
    parser.add_argument("--only", help="this table alone, or `definitions`")
    parser.add_argument("--part", choices=["refresh", "tick", "definitions"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = [f"t{i:02d}" for i in range(args.tables)]
    if args.part:
        print(json.dumps(PARTS[args.part](args.folder, args.only, names, args.seconds)))
        return
    build(args.folder, names)
    for name in [*names, "definitions"]:
        if args.only in (None, name) and not known(name, args.seconds):
            keep(name, args.seconds, measured(args, name))
    summarise(args.seconds)


def build(folder: Path, names: list[str]) -> None:
    """The warehouse, where it is not there."""
    from tabdar_pipeline.warehouse.customers import customers

    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "w.duckdb").exists():
        return
    with duckdb.connect(str(folder / "w.duckdb")) as connection:
        connection.execute("CREATE SCHEMA crm")
        for i, name in enumerate(names):
            rows = customers(ROWS, seed=i)
            connection.register("made", rows[FEW] if i % 2 else rows)
            connection.execute(f"CREATE TABLE crm.{name} AS SELECT * FROM made")


def collection(folder: Path, names: list[str], seconds: float) -> "object":
    import dagster as dg

    from tabdar_pipeline.components.table_collection import TableCollection

    defaults = {
        "source": {"database": str(folder / "w.duckdb")},
        "train": {"seconds": seconds},
        "schedule": "0 1 * * *",
        "storage": str(folder / "run"),
    }
    tables = {f"crm.{name}": {} for name in names}
    component = TableCollection.from_attributes_dict(attributes={"defaults": defaults, "tables": tables})
    return dg.build_defs_for_component(component)


def refresh(folder: Path, name: str, names: list[str], seconds: float) -> dict:
    """One table's job, and what the gate said."""
    import dagster as dg

    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.publish import releases

    job = collection(folder, names, seconds).resolve_job_def(f"refresh_synthetic_{name}")
    started = time.perf_counter()
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, raise_on_error=False)
    served = [it for it in releases(Warehouse(folder / "w.duckdb"), f"synthetic.{name}") if it.served]
    judged = json.loads((folder / "run" / f"synthetic.{name}" / "judged.json").read_text())
    figures = {part: judged["figures"][part] for part in ("values", "floor")}
    return {
        "released": done.success,
        "job_s": time.perf_counter() - started,
        "rows": sum(it.row_count for it in served),
        "refused": judged["decision"]["reasons"],
        **figures,
    }


def tick(folder: Path, name: str, names: list[str], seconds: float) -> dict:
    """A tick of one table's schedule, where nothing is new."""
    import dagster as dg

    schedule = collection(folder, names, seconds).resolve_schedule_def(f"refresh_synthetic_{name}_schedule")
    started = time.perf_counter()
    with dg.instance_for_test() as instance:
        answer = schedule(dg.build_schedule_context(instance=instance))
    assert isinstance(answer, dg.SkipReason), answer
    return {"tick_s": time.perf_counter() - started, "said": answer.skip_message}


def definitions(folder: Path, _name: str, _names: list[str], seconds: float) -> dict:
    """A hundred tables, from YAML's attributes to all that Dagster shows of them."""
    started = time.perf_counter()
    repository = collection(folder, [f"t{i:03d}" for i in range(NIGHT)], seconds).get_repository_def()
    return {"load_s": time.perf_counter() - started, "jobs": len(list(repository.get_all_jobs()))}


PARTS = {"refresh": refresh, "tick": tick, "definitions": definitions}


def measured(args: argparse.Namespace, name: str) -> dict:
    if name == "definitions":
        return part(args, name, "definitions")
    return part(args, name, "refresh") | {"nothing_new": part(args, name, "tick")}


def part(args: argparse.Namespace, name: str, what: str) -> dict:
    """In a process of its own: wall clock, peak memory and what it printed."""
    words = [str(args.folder), "--tables", str(args.tables), "--seconds", str(args.seconds), "--only", name]
    found = timed([sys.executable, __file__, *words, "--part", what])
    return found.pop("printed") | found


def known(name: str, seconds: float) -> bool:
    return any((it["table"], it["seconds"]) == (name, seconds) for it in records()["runs"])


def keep(name: str, seconds: float, found: dict) -> None:
    record = {
        "table": name,
        "seconds": seconds,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {n: version(n) for n in ("tabdar-pipeline", "dagster", "duckdb", "torch", "onnxruntime")},
        **found,
    }
    write(records() | {"runs": [*records()["runs"], record]})


def summarise(seconds: float) -> None:
    """The sum over the tables, and what a night of a hundred would take."""
    done = [it for it in records()["runs"] if it["seconds"] == seconds and it["table"] != "definitions"]
    if not done:
        return
    wall = sum(it["wall_s"] for it in done) / len(done)
    summary = {
        "seconds": seconds,
        "tables": len(done),
        "released": sum(it["released"] for it in done),
        "table_s": wall,
        "peak_mb": max(it["peak_mb"] for it in done),
        "hours_of_100": NIGHT * wall / 3600,
        "minutes_of_100_with_nothing_new": NIGHT
        * sum(it["nothing_new"]["tick_s"] for it in done)
        / len(done)
        / 60,
        "c2st_boosted": sorted(it["values"]["c2st_boosted"] for it in done),
    }
    write(records() | {"summary": summary})
    print(json.dumps(summary, indent=1))


def records() -> dict:
    return json.loads(RECORDS.read_text()) if RECORDS.exists() else {"runs": []}


def write(found: dict) -> None:
    RECORDS.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
