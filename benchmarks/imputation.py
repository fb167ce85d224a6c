"""Impute hidden cells of tables, beside other imputers, judged in one run.

    python benchmarks/imputation.py BENCHMARKS JUDGE_PYTHON PEERS_PYTHON adult:60 magic:60 ...

Each table is halved by the judge; imputers learn from the clean half, once, and fill the other half, of which 30 % of the
cells are hidden: completely at random (mcar, the judge's own), or as a cause demands (mar and mnar, masks.py). Ours also
learns from the table with the hidden cells itself (`--sources masked`). PEERS_PYTHON has peers/imputers.txt installed,
HYPERIMPUTE_PYTHON and ARGN_PYTHON what their names say. Of ours, draws of each hidden number also say how often
their 90 % interval holds the truth. An imputer that takes longer than `--limit` seconds is recorded as such. What was
measured already is not measured again. `--rows` has the first so many rows filled alone, of each table: some imputers are slow.
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
MECHANISMS = ("mcar", "mar", "mnar")
METHODS = ("mean_mode", "knn", "iterative", "miceforest")
ELSEWHERE = {
    "hyperimpute": "hyperimpute_python",
    "argn": "argn_python",
}  # methods with an environment of their own
DRAWS, INTERVAL = 20, 0.9
DRAWN = 4_000  # rows of which cells are drawn so often
COMMAND = str(Path(sys.executable).with_name("tabdar"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("judge_python")
    parser.add_argument("peers_python")
    parser.add_argument("runs", nargs="+", help="table:seconds of our fit")
    parser.add_argument("--sources", nargs="*", choices=("train", "masked"), default=["train"])
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--mechanisms", nargs="*", choices=MECHANISMS, default=MECHANISMS)
    parser.add_argument("--hyperimpute-python")
    parser.add_argument("--argn-python")
    parser.add_argument("--preset", default="auto", help="of our fit")
    parser.add_argument("--limit", type=float, default=600.0)
    parser.add_argument("--rows", type=int, help="fill the first so many alone; some imputers are slow")
    args = parser.parse_args()
    for run in args.runs:
        table, seconds = run.split(":")
        with tempfile.TemporaryDirectory() as scratch:
            bench = Bench(args, table, float(seconds), Path(scratch))
            for source in args.sources:
                bench.ours(source)
            for method in args.methods:
                bench.peer(method)


class Bench:
    """One table, halved once, and masked once by each mechanism."""

    def __init__(self, args: argparse.Namespace, table: str, seconds: float, work: Path) -> None:
        self.args, self.table, self.seconds, self.work = args, table, seconds, work
        self.judge = [args.judge_python, str(args.benchmarks / "judge.py")]
        run([*self.judge, "split", table, str(work)])
        if args.rows is not None:
            pd.read_parquet(self.path("holdout")).head(args.rows).to_parquet(self.path("holdout"))
        for mechanism in args.mechanisms:
            if mechanism == "mcar":
                run([*self.judge, "mask", table, self.path("holdout"), self.path("mcar")])
            else:
                truth = pd.read_parquet(self.path("holdout"))
                hide(truth, mechanism, np.random.default_rng(0)).to_parquet(self.path(mechanism))

    def path(self, name: str) -> str:
        return str(self.work / f"{name}.parquet")

    def ours(self, source: str) -> None:
        """From the clean half one model for all mechanisms; from a masked half a model of its own."""
        name = f"tabdar, from {source}"
        pending = self.pending(name)
        fits = [("train", pending)] if source == "train" else [(m, [m]) for m in pending]
        for rows, mechanisms in fits:
            if mechanisms:
                model = str(self.work / f"model_{rows}")
                settings = {"seconds": self.seconds, "preset": self.args.preset, "seed": 0}
                fit = [COMMAND, "fit", self.path(rows), model, "--missing", "unknown", "--json"]
                fit += [word for name, value in settings.items() for word in (f"--{name}", str(value))]
                started = time.perf_counter()
                said = json.loads(run(fit))
                facts = settings | {"fit_s": time.perf_counter() - started, "epochs": said["epochs"]}
                for mechanism in mechanisms:
                    self.fill(name, model, mechanism, facts)

    def fill(self, name: str, model: str, mechanism: str, fit: dict) -> None:
        points = ("median", "mean") if mechanism == "mcar" else ("mean",)  # the mean last: then all is done
        for point in points:
            command = [COMMAND, "impute", model, self.path(mechanism), self.path("ours"), "--point", point]
            filled = timed([*command, "--json"])
            facts = fit | {"fill_s": filled}
            if point == "mean":
                facts |= self.coverage(model, mechanism)
            self.record(name if point == "mean" else f"{name}, {point}", mechanism, "ours", **facts)

    def coverage(self, model: str, mechanism: str) -> dict:
        """How many of the hidden numbers lie in the interval that their draws predict.

        Of n draws the i-th and the j-th hold a further one with probability (j - i) / (n + 1): Weibull's quantiles.
        Where values repeat, as whole numbers do, a closed interval holds more than that; by `rank`, among draws that
        equal the truth its place is drawn.
        """
        truth, masked = (pd.read_parquet(self.path(name)).head(DRAWN) for name in ("holdout", mechanism))
        masked.to_parquet(self.path("some"))
        command = [COMMAND, "impute", model, self.path("some"), self.path("draws"), "--json"]
        run([*command, "--draws", str(DRAWS)])
        draws = [rows for _, rows in pd.read_parquet(self.path("draws")).groupby("draw")]
        edges, rng = np.array([(1 - INTERVAL) / 2, (1 + INTERVAL) / 2]), np.random.default_rng(0)
        closed, ranked = [], []
        for name in truth.select_dtypes("number"):
            gone = (masked[name].isna() & truth[name].notna()).to_numpy()
            drawn = np.stack([rows[name].to_numpy(float)[gone] for rows in draws])
            real = truth[name].to_numpy(float)[gone]
            low, high = np.quantile(drawn, edges, axis=0, method="weibull")
            closed.append((low <= real) & (real <= high))
            place = (drawn < real).sum(axis=0) + rng.random(len(real)) * ((drawn == real).sum(axis=0) + 1)
            ranked.append(np.abs(place / (DRAWS + 1) - 0.5) < INTERVAL / 2)
        return {
            "coverage": float(np.concatenate(closed).mean()),
            "coverage_by_rank": float(np.concatenate(ranked).mean()),
        }

    def peer(self, method: str) -> None:
        """All mechanisms by one call: what learns from the clean half alone learns once."""
        pending = self.pending(method)
        if not pending:
            return
        pairs = [f"{self.path(m)}:{self.path(f'{method}_{m}')}" for m in pending]
        entries = str(self.args.benchmarks / "datasets.json")
        python = getattr(self.args, ELSEWHERE.get(method, "peers_python"))
        command = [python, str(PEERS), method, self.table, entries, self.path("train"), *pairs]
        failed = None
        try:
            spent = json.loads(run(command, self.args.limit * len(pending)).splitlines()[-1])
        except subprocess.TimeoutExpired:
            failed = f"not done after {self.args.limit * len(pending):.0f} s"
        except subprocess.CalledProcessError as error:
            failed = error.stderr.strip().splitlines()[-1][:200]
        for mechanism in pending:
            if failed is not None:
                self.record(method, mechanism, None, failed=failed)
            else:
                facts = {"fit_s": spent["fit_s"], "fill_s": spent["fill_s"][self.path(mechanism)]}
                self.record(method, mechanism, f"{method}_{mechanism}", **facts)

    def pending(self, method: str) -> list[str]:
        """The mechanisms under which this was not measured yet."""
        done = {(r["table"], r["method"], r["mechanism"], r.get("rows")) for r in records()}
        return [m for m in self.args.mechanisms if (self.table, method, m, self.args.rows) not in done]

    def record(self, method: str, mechanism: str, out: str | None, **facts: float | str) -> None:
        files = [self.path(name) for name in ("train", "holdout", mechanism)]
        judged = [] if out is None else [run([*self.judge, "impute", self.table, *files, self.path(out)])]
        scores = json.loads(judged[0]) if judged else {}
        record = {
            "table": self.table,
            "method": method,
            "mechanism": mechanism,
            "rows": self.args.rows,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "version": version("tabdar-pipeline"),
            **facts,
            **scores,
        }
        RECORDS.write_text(json.dumps([*records(), record], indent=1))
        shown = ("rmse", "mae", "accuracy", "coverage", "coverage_by_rank", "epochs", "fit_s", "fill_s")
        figures = "  ".join(f"{k} {record[k]:.3f}" for k in shown if k in record) or facts["failed"]
        print(f"{self.table:11} {mechanism:5} {method:28} {figures}", flush=True)


def records() -> list[dict]:
    return json.loads(RECORDS.read_text()) if RECORDS.exists() else []


def timed(command: list[str]) -> float:
    started = time.perf_counter()
    run(command)
    return time.perf_counter() - started


def run(command: list[str], limit: float | None = None) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=limit).stdout


if __name__ == "__main__":
    main()
