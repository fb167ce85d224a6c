"""Training on as many rows as there are: seconds and memory of `tabdar fit` at a thousand to ten million rows of 20 columns.

    python benchmarks/rows.py SCRATCH 100000 1000000 10000000 [--seconds 120]

DuckDB makes each table as a parquet file in SCRATCH: nine numbers, nine categories and two times that depend on each
other. The whole command is timed, on one thread. Of its memory two peaks are recorded: all of it, and what is not mapped from files, which is
what the system cannot drop.
"""

import argparse
import json
import os
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import duckdb
import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from frontier import rows_of
from imputation import COMMAND
from quality import machine

RECORD = Path(__file__).parent / "results" / "rows.json"
PLOT = Path(__file__).parents[1] / "docs" / "images" / "rows.png"
EVERY_S = 0.2
TABLE = """
WITH drawn AS (
    SELECT hash(i, 1) % 5 AS region, hash(i, 2) % 97 AS shop, hash(i, 3) % 1000000 / 1e6 AS u,
        hash(i, 4) % 1000000 / 1e6 AS v, hash(i, 5) % 1000000 / 1e6 AS w, hash(i, 6) % 731 AS day, i
    FROM range({rows}) AS numbers(i))
SELECT 'region ' || region AS region, 'shop ' || shop AS shop, ['free', 'basic', 'plus'][1 + (u * 3)::INT % 3] AS plan,
    ['web', 'store'][1 + (v * (1 + region) > 1)::INT] AS channel, (u + w > 1)::BOOLEAN AS newsletter,
    ['new', 'old'][1 + (day > 365)::INT] AS cohort, 'segment ' || (u * v * 8)::INT AS segment,
    CASE WHEN w < 0.05 THEN NULL ELSE ['low', 'high'][1 + (u > w)::INT] END AS risk, 'size ' || (w * 12)::INT AS size,
    18 + (u * 60)::INT AS age, round(20000 * exp(v + 0.2 * region), 2) AS income, (-log(1 - 0.999 * w) * 3)::INT AS orders,
    round(10 * u + 5 * v, 3) AS score, u * w AS ratio, ln(1 + v + u) AS depth, round(100 * v * v) AS points,
    CASE WHEN v < 0.3 THEN 0 ELSE round(40 * v * w, 2) END AS discount, sqrt(w) + 0.1 * u AS weight,
    TIMESTAMP '2024-01-01' + to_seconds((86400 * (day + u))::BIGINT) AS opened,
    TIMESTAMP '2024-01-01' + to_seconds((86400 * (day + u + 30 * w)::DOUBLE)::BIGINT) AS seen
FROM drawn
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scratch", type=Path)
    parser.add_argument("rows", nargs="+", type=int)
    parser.add_argument("--seconds", type=float, default=120)
    args = parser.parse_args()
    for rows in args.rows:
        source = made(args.scratch, rows)
        key = {"rows": rows, "seconds": args.seconds}
        others = [r for r in read() if {k: r[k] for k in key} != key]
        found = measure(source, args.seconds)
        RECORD.write_text(json.dumps([*others, key | found], indent=1))
        print(
            key | {k: found[k] for k in ("peak_mb", "own_peak_mb", "learning_begins_s", "rows_per_second")},
            flush=True,
        )
    draw(read())


def made(folder: Path, rows: int) -> Path:
    """The table in a file, of which DuckDB holds a few row groups at a time."""
    source = folder / f"rows-{rows}.parquet"
    if not source.is_file():
        with duckdb.connect() as db:
            db.sql("SET preserve_insertion_order = false; SET memory_limit = '2GB'")
            db.sql(TABLE.format(rows=rows)).write_parquet(str(source))
    return source


def measure(source: Path, seconds: float) -> dict:
    """The whole command, and what it says of itself."""
    model, rows = source.with_suffix(""), rows_of(source)
    fit = watched([COMMAND, "fit", str(source), str(model), "--seconds", str(seconds), "--threads", "1"])
    history = json.loads((model / "model.json").read_text())["history"]
    first, last = history[0], history[-1]
    a_step = (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "version": version("tabdar-pipeline"),
        "file_mb": source.stat().st_size / 2**20,
        **fit,
        "epochs": last["epoch"],
        "steps": last["step"],
        "learning_begins_s": last["seconds"] - a_step * last["step"],
        "rows_per_second": last["epoch"] * rows / last["step"] / a_step,
        "validation_loss": min(h["validation_loss"] for h in history),
    }


def watched(command: list[str]) -> dict:
    """Run a process to its end: seconds, and peaks of memory."""
    started, own = time.perf_counter(), 0.0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        facts = Path(f"/proc/{process.pid}/status").read_text()
        own = max(own, *(float(line.split()[1]) for line in facts.splitlines() if "RssAnon" in line), 0.0)
        time.sleep(EVERY_S)
    if status:
        raise SystemExit(f"{command} failed")
    return {
        "wall_s": time.perf_counter() - started,
        "peak_mb": usage.ru_maxrss / 1024,
        "own_peak_mb": own / 1024,
    }


def read() -> list[dict]:
    return json.loads(RECORD.read_text()) if RECORD.exists() else []


def draw(records: list[dict]) -> None:
    """Peak memory, seconds before learning, and rows learned from a second, against rows."""
    found = sorted(records, key=lambda r: r["rows"])
    figure, axes = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")
    words = {
        "peak_mb": "peak memory, MB",
        "learning_begins_s": "seconds before the first step",
        "rows_per_second": "rows learned from a second",
    }
    for axis, (key, word) in zip(axes, words.items(), strict=True):
        axis.plot([r["rows"] for r in found], [r[key] for r in found], "o-", label="all")
        axis.set(xscale="log", xlabel="rows of the table", title=word, ylim=(0, None))
    axes[0].plot([r["rows"] for r in found], [r["own_peak_mb"] for r in found], "s--", label="not of files")
    axes[0].legend()
    figure.savefig(PLOT, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
