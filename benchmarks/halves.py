"""What most benchmarks begin and end with: a table halved by the judge, a model of one half, and the judge's figures."""

import argparse
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from models import kept
from quality import machine, run

from tabdar_pipeline import TabDAR

BENCHMARKS = Path(__file__).parent
RESULTS, IMAGES = BENCHMARKS / "results", BENCHMARKS.parent / "docs" / "images"


@dataclass(frozen=True)
class Halves:
    """One table of the judge's, in a folder of its own."""

    table: str
    benchmarks: Path
    judge_python: str
    models: Path

    @property
    def work(self) -> Path:
        return self.models / self.table

    @cached_property
    def train(self) -> pa.Table:
        return self._half("train")

    @cached_property
    def holdout(self) -> pa.Table:
        return self._half("holdout")

    def _half(self, name: str) -> pa.Table:
        path = self.work / f"{name}.parquet"
        if not path.is_file():
            self.judge("split", self.table, self.work)
        return pq.read_table(path)

    @property
    def target(self) -> str:
        return next(entry["target"] for entry in self._entries() if entry["name"] == self.table)

    def _entries(self) -> list[dict]:
        return json.loads((self.benchmarks / "datasets.json").read_text())

    def judge(self, *words: object) -> str:
        return run([self.judge_python, str(self.benchmarks / "judge.py"), *map(str, words)])

    def score(self, made: pa.Table, name: str) -> dict:
        """The judge's figures of a synthetic table, and of the half that was not learned."""
        out = self.work / f"{name}.parquet"
        pq.write_table(made, out)
        halves = self.work / "train.parquet", self.work / "holdout.parquet"
        return json.loads(self.judge("score", self.table, *halves, out))

    def model(self, name: str, rows: pa.Table, seconds: float, seed: int = 0, **settings: Any) -> TabDAR:
        """A model of some rows after so many seconds of one core, fitted once."""
        folder = self.work / f"{name}-{seconds:.0f}-{seed}"
        return kept(
            folder,
            lambda: TabDAR.fit(rows, name="table", seconds=seconds, seed=seed, threads=1, **settings),
        )


def parser(text: str, seconds: float) -> argparse.ArgumentParser:
    """The arguments that these benchmarks share."""
    found = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("benchmarks", type=Path)
    found.add_argument("judge_python")
    found.add_argument("models", type=Path)
    found.add_argument("tables", nargs="+")
    found.add_argument("--seconds", type=float, default=seconds)
    found.add_argument("--fit-only", action="store_true")
    return found


def halves(args: argparse.Namespace, table: str) -> Halves:
    return Halves(table, args.benchmarks, args.judge_python, args.models)


def records(path: Path) -> list[dict]:
    return json.loads(path.read_text()) if path.exists() else []


def keep(path: Path, key: dict, found: dict) -> None:
    """Put a record in the place of the one with the same key."""
    others = [r for r in records(path) if {k: r.get(k) for k in key} != key]
    dated = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    path.write_text(json.dumps([*others, key | dated | found], indent=1))
