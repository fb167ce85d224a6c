"""Impute hidden cells of tables, beside other imputers, judged in one run.

    python benchmarks/imputation.py BENCHMARKS JUDGE_PYTHON PEERS_PYTHON adult:60 magic:60 ...

Each table is halved by the judge; imputers learn from the clean half, and 30 % of the other half's cells
are hidden completely at random (`--masked`: our model learns from the masked half itself instead).
PEERS_PYTHON has peers/imputers.txt installed. What was measured already is not measured again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from quality import machine

RECORDS = Path(__file__).parent / "results" / "imputation.json"
PEERS = Path(__file__).parent / "peers" / "imputers.py"
METHODS = ("mean_mode", "knn", "iterative", "miceforest")
COMMAND = str(Path(sys.executable).with_name("tabdar"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("judge_python")
    parser.add_argument("peers_python")
    parser.add_argument("runs", nargs="+", help="table:seconds of our fit")
    parser.add_argument("--masked", action="store_true", help="our model learns from the masked half")
    parser.add_argument("--methods", nargs="*", default=METHODS)
    args = parser.parse_args()
    for run in args.runs:
        table, seconds = run.split(":")
        with tempfile.TemporaryDirectory() as scratch:
            bench = Bench(args, table, float(seconds), Path(scratch))
            bench.ours()
            for method in args.methods:
                bench.peer(method)


class Bench:
    """One table, halved and masked once."""

    def __init__(self, args: argparse.Namespace, table: str, seconds: float, work: Path) -> None:
        self.args, self.table, self.seconds, self.work = args, table, seconds, work
        self.judge = [args.judge_python, str(args.benchmarks / "judge.py")]
        run([*self.judge, "split", table, str(work)])
        run([*self.judge, "mask", table, str(work / "holdout.parquet"), str(work / "masked.parquet")])

    def ours(self) -> None:
        source = "masked" if self.args.masked else "train"
        name = f"tabdar, from {source}"
        if self.known(name):
            return
        model, out = str(self.work / "model"), self.work / "ours.parquet"
        fit = [COMMAND, "fit", str(self.work / f"{source}.parquet"), model, "--missing", "unknown"]
        fitted = timed([*fit, "--seconds", str(self.seconds), "--json"])
        masked = str(self.work / "masked.parquet")
        filled = timed([COMMAND, "impute", model, masked, str(out), "--point", "mean", "--json"])
        self.record(name, fitted, filled, out)

    def peer(self, method: str) -> None:
        if self.known(method):
            return
        out = self.work / f"{method}.parquet"
        files = [str(self.work / f"{n}.parquet") for n in ("train", "masked")]
        entries = str(self.args.benchmarks / "datasets.json")
        seconds = timed([self.args.peers_python, str(PEERS), method, self.table, entries, *files, str(out)])
        self.record(method, 0.0, seconds, out)

    def record(self, method: str, fitted: float, filled: float, out: Path) -> None:
        files = [str(self.work / f"{n}.parquet") for n in ("train", "holdout", "masked")]
        scores = json.loads(run([*self.judge, "impute", self.table, *files, str(out)]))
        record = {
            "table": self.table,
            "method": method,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "version": version("tabdar-pipeline"),
            "fit_s": fitted,
            "fill_s": filled,
            **scores,
        }
        RECORDS.write_text(json.dumps([*records(), record], indent=1))
        figures = "  ".join(f"{k} {scores[k]:.3f}" for k in ("rmse", "mae", "accuracy") if k in scores)
        print(f"{self.table:11} {method:22} {figures}  {fitted:.0f} + {filled:.0f} s", flush=True)

    def known(self, method: str) -> bool:
        return any((r["table"], r["method"]) == (self.table, method) for r in records())


def records() -> list[dict]:
    return json.loads(RECORDS.read_text()) if RECORDS.exists() else []


def timed(command: list[str]) -> float:
    started = time.perf_counter()
    run(command)
    return time.perf_counter() - started


def run(command: list[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
