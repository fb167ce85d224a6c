"""Every departure of ours from the paper alone, and the way from the authors' published design to ours; equal seconds.

    python benchmarks/ablation.py BENCHMARKS JUDGE_PYTHON MODELS adult magic [--seconds 45] [--only NAME ...] [--fit-only]

The judge halves each table; each design learns one half for so many seconds of one core, everything included,
and draws as many rows. PATH goes from the published design (published.py) to ours, one step after the other; ALONE changes one thing of
ours. The three forms of the mask are also judged in the other two jobs: hidden cells are filled (30 %, completely at
random), and rows are completed of which every second column is given, from the half that was not learned. Models and
tables are kept in MODELS, and what was judged already is not judged again.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import published
import pyarrow.parquet as pq
import torch
from models import cpu_seconds, kept
from quality import machine, run

from tabdar_pipeline import TabDAR
from tabdar_pipeline.codec.number import NumberSettings
from tabdar_pipeline.fitting import PAPER, Design

RECORDS = Path(__file__).parent / "results" / "ablation.json"
PLOT = Path(__file__).parents[1] / "docs" / "images" / "ablation.png"
FIGURES = {
    "shape_error": "shape",
    "trend_error": "trend",
    "c2st_boosted": "C2ST",
    "utility": "utility",
    "beta_recall": "beta-recall",
}


@dataclass(frozen=True)
class Ours:
    """A form of our model."""

    design: Design = field(default_factory=Design)
    settings: Mapping[str, Any] = field(default_factory=dict)  # of FitSettings
    rules: bool = True  # whether constraints that every row keeps are discovered


PATH: dict[str, Ours | published.Switches] = {
    "published": published.Switches(),
    "+ each row its own count": published.Switches(count_a_batch=False),
    "+ a token and a diffusion each": published.Switches(count_a_batch=False, joint=False),
    "+ randomised transform": published.Switches(False, False, False),
    "+ only what is visible is encoded": Ours(PAPER, rules=False),  # the paper's pure form
    "+ cached order": Ours(Design("cached", PAPER.numbers), rules=False),
    "+ codes before the diffusion": Ours(rules=False),
    "ours": Ours(),
}
ALONE: dict[str, Ours | published.Switches] = {
    "reveal: mixed": Ours(Design("mixed")),
    "reveal: paper": Ours(Design("paper")),
    "bins: 1": Ours(Design(numbers=NumberSettings(bins=1))),
    "noise levels: 4": Ours(Design(training={"noise_levels": 4})),
    "fp32": Ours(settings={"precision": "fp32"}),
    "two encoder blocks": Ours(Design(sizes={"layers": 2})),
    "no average of weights": Ours(Design(training={"ema_steps": 0.0})),
}
JOBS = ("ours", "reveal: mixed", "reveal: paper", "+ only what is visible is encoded")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("judge_python")
    parser.add_argument("models", type=Path)
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=[*PATH, *ALONE], default=[*PATH, *ALONE])
    parser.add_argument("--fit-only", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for table in args.tables:
        bench = Bench(args, table)
        for name in args.only:
            bench.learn(name)
            if not args.fit_only and not bench.known(name):
                bench.record(name)
    draw(records())


class Bench:
    """One table, halved by the judge, and the designs that learn it."""

    def __init__(self, args: argparse.Namespace, table: str) -> None:
        self.args, self.table = args, table
        self.work = args.models / table
        self.judge = [args.judge_python, str(args.benchmarks / "judge.py")]
        if not (self.work / "train.parquet").is_file():
            run([*self.judge, "split", table, str(self.work)])
        self.train = pq.read_table(self.work / "train.parquet")

    def file(self, name: str) -> Path:
        """What belongs to a design, without the end of its name."""
        words = "".join(c if c.isalnum() else "-" for c in name)
        return self.work / f"{words}-{self.args.seconds:.0f}-{self.args.seed}"

    def learn(self, name: str) -> None:
        """Fit a design, and keep it; of a published one, keep the rows that it draws."""
        it = (PATH | ALONE)[name]
        if isinstance(it, Ours):
            kept(self.file(name), lambda: self.fit(it))
        elif not self.rows(name).is_file():
            self.fit_published(it).to_parquet(self.rows(name), index=False)

    def rows(self, name: str) -> Path:
        """Where as many rows as were learned lie, once a design has drawn them."""
        return self.file(name).with_suffix(".parquet")

    def drawn(self, name: str) -> Path:
        """The same, drawn."""
        out = self.rows(name)
        if not out.is_file():
            pq.write_table(TabDAR.load(self.file(name)).sample(len(self.train), seed=1, format="arrow"), out)
        return out

    def fit(self, it: Ours) -> TabDAR:
        given = None if it.rules else ()
        settings = {"seconds": self.args.seconds, "seed": self.args.seed, "threads": 1, **it.settings}
        return TabDAR.fit(self.train, constraints=given, design=it.design, **settings)

    def fit_published(self, switches: published.Switches) -> pd.DataFrame:
        with cpu_seconds():
            model = published.fit(
                self.train,
                switches,
                seconds=self.args.seconds,
                seed=self.args.seed,
                precision=torch.bfloat16,
            )
        return model.sample(len(self.train), torch.Generator().manual_seed(1))

    def record(self, name: str) -> None:
        scores = self.score(self.drawn(name))
        found = {
            **self.key(name),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "synthetic": scores["synthetic"],
            "floor": scores["floor"],
        }
        if name in JOBS:
            model = TabDAR.load(self.file(name))
            found |= {"imputed": self.imputed(model), "completed": self.completed(model)}
        RECORDS.write_text(json.dumps([*records(), found], indent=1))
        print(self.table, name, {k: round(found["synthetic"][k], 3) for k in FIGURES}, flush=True)

    def score(self, out: Path) -> dict:
        files = [str(self.work / f"{name}.parquet") for name in ("train", "holdout")]
        return json.loads(run([*self.judge, "score", self.table, *files, str(out)]))

    def imputed(self, model: TabDAR) -> dict:
        """The judge's figures of hidden cells that were estimated."""
        files = [str(self.work / f"{name}.parquet") for name in ("train", "holdout", "masked", "filled")]
        run([*self.judge, "mask", self.table, files[1], files[2]])
        pq.write_table(model.impute(pq.read_table(files[2]), point="mean"), files[3])
        return json.loads(run([*self.judge, "impute", self.table, *files]))

    def completed(self, model: TabDAR) -> dict:
        """The judge's figures of fresh rows of which every second column is real, and the others are drawn."""
        fresh, out = pq.read_table(self.work / "holdout.parquet"), self.work / "completed.parquet"
        pq.write_table(model.sample(given=fresh.select(fresh.column_names[::2]), seed=1, format="arrow"), out)
        return self.score(out)["synthetic"]

    def key(self, name: str) -> dict:
        return {
            "table": self.table,
            "design": name,
            "seconds": self.args.seconds,
            "seed": self.args.seed,
        }

    def known(self, name: str) -> bool:
        return any({k: r[k] for k in self.key(name)} == self.key(name) for r in records())


def records() -> list[dict]:
    return json.loads(RECORDS.read_text()) if RECORDS.exists() else []


def draw(found: list[dict]) -> None:
    """Each design's distance from the floor, figure by figure and table by table."""
    tables = list(dict.fromkeys(r["table"] for r in found))
    names = [name for name in [*PATH, *ALONE] if any(r["design"] == name for r in found)]
    if not found:
        return
    figure, axes = plt.subplots(1, len(FIGURES), figsize=(13, 5), sharey=True, layout="constrained")
    for axis, (key, word) in zip(axes, FIGURES.items(), strict=True):
        for i, table in enumerate(tables):
            of = {r["design"]: r for r in found if r["table"] == table}
            places = [names.index(n) + 0.25 * i for n in names if n in of]
            excess = [abs(of[n]["synthetic"][key] - of[n]["floor"][key]) for n in names if n in of]
            axis.barh(places, excess, height=0.22, label=table)
        axis.set_title(word, fontsize=10)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    axes[0].legend()
    figure.supxlabel("distance from the floor")
    figure.savefig(PLOT, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main()
