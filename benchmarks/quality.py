"""Fit, sample and judge tables at a given number of seconds each; one JSON record a run.

    python benchmarks/quality.py BENCHMARKS JUDGE_PYTHON adult:200 shoppers:60 magic:70

BENCHMARKS holds judge.py, datasets.json and data/; JUDGE_PYTHON is an interpreter with scikit-learn,
scipy, pyarrow, pandas<3 and xgboost. The judge halves each table; we fit on one half. What was
measured already (same table, seconds, seed) is not measured again.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RECORDS = Path(__file__).parent / "results" / "quality.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("judge_python")
    parser.add_argument("runs", nargs="+", help="table:seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="measure anew")
    args = parser.parse_args()
    records = json.loads(RECORDS.read_text()) if RECORDS.exists() else []
    for run in args.runs:
        table, seconds = run.split(":")
        key = {"table": table, "seconds": float(seconds), "seed": args.seed}
        same = [r for r in records if {k: r[k] for k in key} == key]
        if same and not args.again:
            continue
        records = [r for r in records if r not in same] + [measure(key, args.benchmarks, args.judge_python)]
        RECORDS.parent.mkdir(exist_ok=True)
        RECORDS.write_text(json.dumps(records, indent=1))
        show(records[-1])


def measure(
    key: dict, benchmarks: Path, judge_python: str, split: Callable[[str, Path], None] | None = None
) -> dict:
    """Fit, sample and judge; `split` writes train.parquet and holdout.parquet in place of the judge's halves."""
    judge = [judge_python, str(benchmarks / "judge.py")]
    tabdar = [str(Path(sys.executable).with_name("tabdar"))]
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        if split is None:
            run([*judge, "split", key["table"], str(work)])
        else:
            split(key["table"], work)
        fit = timed(
            [
                *tabdar,
                "fit",
                str(work / "train.parquet"),
                str(work / "model"),
                "--seconds",
                str(key["seconds"]),
                "--seed",
                str(key["seed"]),
                "--json",
            ]
        )
        rows = fit["printed"]["rows"]
        sample = timed(
            [
                *tabdar,
                "sample",
                str(work / "model"),
                str(work / "out.parquet"),
                "--rows",
                str(rows),
                "--seed",
                "1",
                "--json",
            ]
        )
        first = timed(
            [*tabdar, "sample", str(work / "model"), str(work / "one.parquet"), "--rows", "1", "--json"]
        )
        files = [str(work / f"{name}.parquet") for name in ("train", "holdout", "out")]
        scores = json.loads(run([*judge, "score", key["table"], *files]))
    return {
        **key,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {n: version(n) for n in ("tabdar-pipeline", "torch", "onnxruntime", "numpy", "pyarrow")},
        "fit": fit,
        "sample": sample,
        "rows_per_second": rows / sample["printed"]["seconds"],
        "first_row_s": first["wall_s"],
        "synthetic": scores["synthetic"],
        "floor": scores["floor"],
    }


def timed(command: list[str]) -> dict:
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed")
    return {
        "wall_s": time.perf_counter() - started,
        "peak_mb": usage.ru_maxrss / 1024,
        "printed": json.loads(printed),
    }


def run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def machine() -> dict:
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "page_size": resource.getpagesize(),
    }


def show(record: dict) -> None:
    figures = (
        "shape_error",
        "trend_error",
        "c2st_boosted",
        "utility",
        "beta_recall",
        "dcr_share",
        "copies",
        "off_support",
    )
    line = "  ".join(f"{n} {record['synthetic'][n]:.3f} ({record['floor'][n]:.3f})" for n in figures)
    print(
        f"{record['table']} {record['seconds']:.0f} s: {line}  {record['rows_per_second']:,.0f} rows/s  "
        f"{record['fit']['peak_mb']:.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    main()
