"""Impute hidden cells of tables, beside other imputers, judged in one run.

    python benchmarks/imputation.py BENCHMARKS JUDGE_PYTHON PEERS_PYTHON adult:60 magic:60 ...

Each table is halved by the judge; imputers learn from the clean half, and 30 % of the other half's cells
are hidden, completely at random or as `--mechanism` says (masks.py). `--masked`: our model learns from the masked half
itself instead. PEERS_PYTHON has peers/imputers.txt installed, HYPERIMPUTE_PYTHON and ARGN_PYTHON what their names say.
Of ours, 20 draws of each hidden number also say how often its 90 % interval holds the truth. An imputer that takes
longer than `--limit` seconds is recorded as such. What was measured already is not measured again.
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

import numpy as np
import pandas as pd
from masks import hide
from quality import machine

RECORDS = Path(__file__).parent / "results" / "imputation.json"
PEERS = Path(__file__).parent / "peers" / "imputers.py"
METHODS = ("mean_mode", "knn", "iterative", "miceforest")
ELSEWHERE = {
    "hyperimpute": "hyperimpute_python",
    "argn": "argn_python",
}  # methods that need their own environment
DRAWS, INTERVAL = 20, 0.9
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
    parser.add_argument("--mechanism", choices=("mcar", "mar", "mnar"), default="mcar")
    parser.add_argument("--hyperimpute-python")
    parser.add_argument("--argn-python")
    parser.add_argument("--limit", type=float, default=600.0)
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
        if args.mechanism == "mcar":
            run([*self.judge, "mask", table, str(work / "holdout.parquet"), str(work / "masked.parquet")])
        else:
            truth = pd.read_parquet(work / "holdout.parquet")
            hide(truth, args.mechanism, np.random.default_rng(0)).to_parquet(work / "masked.parquet")

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
        self.record(name, out, fit_s=fitted, fill_s=filled, coverage=self.coverage(model))

    def coverage(self, model: str) -> float:
        """How many of the hidden numbers lie in the interval between their draws' quantiles."""
        out = self.work / "draws.parquet"
        command = [COMMAND, "impute", model, str(self.work / "masked.parquet"), str(out), "--json"]
        run([*command, "--draws", str(DRAWS)])
        truth, masked = (pd.read_parquet(self.work / f"{name}.parquet") for name in ("holdout", "masked"))
        draws = [rows for _, rows in pd.read_parquet(out).groupby("draw")]
        inside = []
        for name in truth.select_dtypes("number"):
            gone = (masked[name].isna() & truth[name].notna()).to_numpy()
            drawn = np.stack([rows[name].to_numpy(float)[gone] for rows in draws])
            edges = (1 - INTERVAL) / 2, (1 + INTERVAL) / 2
            low, high = np.quantile(drawn, edges, axis=0, method="inverted_cdf")
            real = truth[name].to_numpy(float)[gone]
            inside.append((low <= real) & (real <= high))
        return float(np.concatenate(inside).mean())

    def peer(self, method: str) -> None:
        if self.known(method):
            return
        out = self.work / f"{method}.parquet"
        files = [str(self.work / f"{n}.parquet") for n in ("train", "masked")]
        entries = str(self.args.benchmarks / "datasets.json")
        python = getattr(self.args, ELSEWHERE.get(method, "peers_python"))
        command = [python, str(PEERS), method, self.table, entries, *files, str(out)]
        try:
            seconds = timed(command, self.args.limit)
        except subprocess.TimeoutExpired:
            self.record(method, None, failed=f"not done after {self.args.limit:.0f} s")
        except subprocess.CalledProcessError as error:
            self.record(method, None, failed=f"stopped with status {error.returncode}")
        else:
            self.record(method, out, fit_s=0.0, fill_s=seconds)

    def record(self, method: str, out: Path | None, **facts: float | str) -> None:
        files = [str(self.work / f"{n}.parquet") for n in ("train", "holdout", "masked")]
        judged = [] if out is None else [run([*self.judge, "impute", self.table, *files, str(out)])]
        scores = json.loads(judged[0]) if judged else {}
        record = {
            "table": self.table,
            "method": method,
            "mechanism": self.args.mechanism,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "version": version("tabdar-pipeline"),
            **facts,
            **scores,
        }
        RECORDS.write_text(json.dumps([*records(), record], indent=1))
        shown = ("rmse", "mae", "accuracy", "coverage", "fit_s", "fill_s")
        figures = "  ".join(f"{k} {record[k]:.3f}" for k in shown if k in record) or facts["failed"]
        print(f"{self.table:11} {self.args.mechanism} {method:22} {figures}", flush=True)

    def known(self, method: str) -> bool:
        asked = (self.table, method, self.args.mechanism)
        return any((r["table"], r["method"], r.get("mechanism", "mcar")) == asked for r in records())


def records() -> list[dict]:
    return json.loads(RECORDS.read_text()) if RECORDS.exists() else []


def timed(command: list[str], limit: float | None = None) -> float:
    started = time.perf_counter()
    run(command, limit)
    return time.perf_counter() - started


def run(command: list[str], limit: float | None = None) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=limit).stdout


if __name__ == "__main__":
    main()
