"""Equal seconds: TabularARGN for as long as it wants, then ours for as long; one judge, one machine, one run.

    python benchmarks/frontier.py BENCHMARKS JUDGE_PYTHON ARGN_PYTHON adult shoppers magic beijing default

ARGN_PYTHON has peers/argn.txt installed. The excess of a figure is its distance from the floor; the ratio is our
excess over theirs, each at least LEAST. What was measured already is not measured again.
"""

import argparse
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from quality import machine, measure, run

RECORDS = Path(__file__).parent / "results" / "frontier.json"
PEER = Path(__file__).parent / "peers" / "argn.py"
FIGURES = {"shape_error": 1, "trend_error": 1, "c2st_boosted": 1, "utility": -1}  # sign of worse
LEAST = {"shape_error": 0.05, "trend_error": 0.05, "c2st_boosted": 0.005, "utility": 0.002}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("judge_python")
    parser.add_argument("argn_python")
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--times", type=float, default=1.0, help="our seconds over theirs")
    parser.add_argument("--again", action="store_true", help="measure ours anew")
    args = parser.parse_args()
    for table in args.tables:
        known = [r for r in records() if r["table"] == table]
        same = [r for r in known if r["times"] == args.times]
        if same and not args.again:
            continue
        peer = (same or known)[0]["argn"] if known else argn(args, table)
        key = {"table": table, "seconds": round(peer["train_s"] * args.times, 1), "seed": 0}
        ours = measure(key, args.benchmarks, args.judge_python)
        record = {
            "table": table,
            "times": args.times,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "argn": peer,
            "ours": ours,
            "ratios": ratios(ours["synthetic"], peer["synthetic"], ours["floor"]),
        }
        kept = [r for r in records() if r not in same]
        RECORDS.write_text(json.dumps([*kept, record], indent=1))
        show(record)


def argn(args: argparse.Namespace, table: str) -> dict:
    judge = [args.judge_python, str(args.benchmarks / "judge.py")]
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        run([*judge, "split", table, str(work)])
        files = [str(work / f"{name}.parquet") for name in ("train", "holdout", "out")]
        rows = str(rows_of(work / "train.parquet"))
        printed = run([args.argn_python, str(PEER), files[0], files[2], rows])
        seconds = json.loads(printed.splitlines()[-1])
        scores = json.loads(run([*judge, "score", table, *files]))
    return {
        **seconds,
        "rows_per_second": int(rows) / seconds["sample_s"],
        "synthetic": scores["synthetic"],
    }


def rows_of(path: Path) -> int:
    import pyarrow.parquet as pq

    return pq.read_metadata(path).num_rows


def ratios(ours: dict, theirs: dict, floor: dict) -> dict:
    found = {}
    for name, worse in FIGURES.items():
        if name in ours and ours[name] is not None:
            mine, peer = (max(LEAST[name], worse * (it[name] - floor[name])) for it in (ours, theirs))
            found[name] = mine / peer
    return found


def records() -> list[dict]:
    return json.loads(RECORDS.read_text()) if RECORDS.exists() else []


def show(record: dict) -> None:
    ours, peer = record["ours"], record["argn"]
    figures = "  ".join(
        f"{n} {ours['synthetic'][n]:.3f} / {peer['synthetic'][n]:.3f} ({ours['floor'][n]:.3f}) {r:.2f}"
        for n, r in record["ratios"].items()
    )
    print(
        f"{record['table']} {ours['seconds']:.0f} s: {figures}  mean {mean(record['ratios']):.2f}  "
        f"rows/s {ours['rows_per_second']:,.0f} / {peer['rows_per_second']:,.0f}",
        flush=True,
    )


def mean(ratios: dict) -> float:
    return sum(ratios.values()) / len(ratios)


if __name__ == "__main__":
    main()
