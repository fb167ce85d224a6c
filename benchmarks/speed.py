"""Rows a second beside TabularARGN's in the same run, and what each --quality costs in the judge's figures.

    python benchmarks/speed.py BENCHMARKS JUDGE_PYTHON ARGN_PYTHON adult:200 shoppers:60

Ours is fitted for so many seconds; theirs for one epoch, since its speed does not depend on what it learned. Ours is
timed from the command to the written file, theirs from the call to the written file, after a first call; the median
of three times each.
What was measured already is not measured again.
"""

import argparse
import json
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from quality import machine, run

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
    qualities = {}
    for quality in QUALITIES:
        words = ["sample", work / "model", out, "--seed", "1", "--quality", quality, "--rows"]
        runs = [json.loads(tabdar(*words, ROWS)) for _ in range(TIMES)]
        timed = sorted(runs, key=lambda run: run["seconds"])[TIMES // 2]
        tabdar(*words, fitted["rows"])
        scores = json.loads(run([*judge, "score", table, train, holdout, out]))
        qualities[quality] = {
            "rows_per_second": timed["rows_per_second"],
            "seconds": [run["seconds"] for run in runs],
            "profile": timed["profile"],
            "synthetic": scores["synthetic"],
        }
    peer = json.loads(run([args.argn_python, str(PEER), train, str(ROWS), str(TIMES)]).splitlines()[-1])
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


def tabdar(*words: object) -> str:
    command = [str(Path(sys.executable).with_name("tabdar")), *map(str, words), "--json"]
    return run(command).splitlines()[-1]


def show(record: dict) -> None:
    print(f"{record['table']}: TabularARGN {record['argn_rows_per_second']:,.0f} rows/s")
    for name, found in record["qualities"].items():
        figures = found["synthetic"]
        print(
            f"  {name} {found['rows_per_second']:,.0f} rows/s, shape {figures['shape_error']:.2f}, "
            f"trend {figures['trend_error']:.2f}, C2ST {figures['c2st_boosted']:.3f}, utility "
            f"{figures['utility']:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
