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


Split = Callable[[str, Path], None]  # writes train.parquet and holdout.parquet of a table into a folder


def main() -> None:
    measure_all(parser(__doc__).parse_args(), RECORDS)


def parser(text: str) -> argparse.ArgumentParser:
    """What a benchmark of tables and seconds is told."""
    found = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("benchmarks", type=Path)
    found.add_argument("judge_python")
    found.add_argument("runs", nargs="+", help="table:seconds")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--again", action="store_true", help="measure anew")
    return found


def measure_all(args: argparse.Namespace, path: Path, split: Split | None = None) -> None:
    """What was not measured yet, each kept once it is."""
    records = json.loads(path.read_text()) if path.exists() else []
    for run in args.runs:
        table, seconds = run.split(":")
        key = {"table": table, "seconds": float(seconds), "seed": args.seed}
        same = [r for r in records if {k: r[k] for k in key} == key]
        if same and not args.again:
            continue
        made = measure(key, args.benchmarks, args.judge_python, split)
        records = [r for r in records if r not in same] + [made]
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(records, indent=1))
        show(made)


def measure(key: dict, benchmarks: Path, judge_python: str, split: Split | None = None) -> dict:
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
