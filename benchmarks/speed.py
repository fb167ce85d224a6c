"""Rows a second beside TabularARGN's in the same run, and what each --quality costs in the judge's figures.

    python benchmarks/speed.py BENCHMARKS JUDGE_PYTHON ARGN_PYTHON adult:200 shoppers:60

Ours is fitted for so many seconds; theirs for one epoch, since its speed does not depend on what it learned. Both are
timed from the call to the written file, after a first call: the median of three times each, one after the other. Ours
also from the command to the written file, loading included, and to the first row.
What was measured already is not measured again.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from quality import machine, run

from tabdar_pipeline.runtime import OnnxSampler

RECORDS = Path(__file__).parent / "results" / "speed.json"
PEER = Path(__file__).parent / "peers" / "argn_speed.py"
QUALITIES = ("exact", "balanced", "fast")
ROWS, TIMES = 100_000, 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("judge_python")
    parser.add_argument("argn_python")
    parser.add_argument("runs", nargs="+", help="table:seconds")
    args = parser.parse_args()
    for wanted in args.runs:
        table, seconds = wanted.split(":")
        records = json.loads(RECORDS.read_text()) if RECORDS.exists() else []
        if any(r["table"] == table for r in records):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            record = measure(table, seconds, Path(scratch), args)
        RECORDS.write_text(json.dumps([*records, record], indent=1))
        show(record)


def measure(table: str, seconds: str, work: Path, args: argparse.Namespace) -> dict:
    judge = [args.judge_python, str(args.benchmarks / "judge.py")]
    run([*judge, "split", table, str(work)])
    train, holdout, out = (str(work / f"{name}.parquet") for name in ("train", "holdout", "out"))
    fitted = json.loads(tabdar("fit", train, work / "model", "--seconds", seconds))
    peer = json.loads(run([args.argn_python, str(PEER), train, str(ROWS), str(TIMES)]).splitlines()[-1])
    qualities = {}
    for quality in QUALITIES:
        seconds_called = called(work / "model", quality)
        words = ["sample", work / "model", out, "--seed", "1", "--quality", quality, "--rows"]
        first, command = (json.loads(tabdar(*words, rows)) for rows in (1, ROWS))
        tabdar(*words, fitted["rows"])
        scores = json.loads(run([*judge, "score", table, train, holdout, out]))
        qualities[quality] = {
            "rows_per_second": ROWS / statistics.median(seconds_called),
            "seconds": seconds_called,
            "command_rows_per_second": command["rows_per_second"],
            "first_row_s": first["seconds"],
            "profile": command["profile"],
            "synthetic": scores["synthetic"],
        }
    return {
        "table": table,
        "seconds": float(seconds),
        "rows": ROWS,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "qualities": qualities,
        "floor": scores["floor"],
        "argn_rows_per_second": peer["rows"] / statistics.median(peer["seconds"]),
        "argn_seconds": peer["seconds"],
    }


def called(model: Path, quality: str) -> list[float]:
    """Seconds from the call to the written file."""
    sampler = OnnxSampler.load(model, quality=quality)
    sampler.write_rows(model.with_name("called.parquet"), 1000)  # what is loaded once is loaded
    seconds = []
    for _ in range(TIMES):
        started = time.perf_counter()
        sampler.write_rows(model.with_name("called.parquet"), ROWS)
        seconds.append(time.perf_counter() - started)
    return seconds


def tabdar(*words: object) -> str:
    command = [str(Path(sys.executable).with_name("tabdar")), *map(str, words), "--json"]
    return run(command).splitlines()[-1]


def show(record: dict) -> None:
    print(f"{record['table']}: TabularARGN {record['argn_rows_per_second']:,.0f} rows/s")
    for name, found in record["qualities"].items():
        figures = found["synthetic"]
        print(
            f"  {name} {found['rows_per_second']:,.0f} rows/s ({found['command_rows_per_second']:,.0f} from the command, "
            f"first row {found['first_row_s']:.2f} s), shape {figures['shape_error']:.2f}, "
            f"trend {figures['trend_error']:.2f}, C2ST {figures['c2st_boosted']:.3f}, utility "
            f"{figures['utility']:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
