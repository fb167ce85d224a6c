"""Every departure of ours from the paper alone, and the way from the authors' published design to ours; equal seconds.

    python benchmarks/ablation.py BENCHMARKS JUDGE_PYTHON MODELS adult magic [--seconds 45] [--only NAME ...]
        [--fit-only]

The judge halves each table; each design learns one half for so many seconds of one core, everything included,
and draws as many rows. PATH goes from the published design (published.py) to ours, one step after the other; ALONE changes one thing of
ours. The three forms of the mask are also judged in the other two jobs: hidden cells are filled (30 %, completely at
random), and rows are completed of which every second column is given, from the half that was not learned. Models and
tables are kept in MODELS, and what was judged already is not judged again.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import published
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from halves import IMAGES, RESULTS, Halves, halves, keep, parser, records
from models import cpu_seconds

from tabdar_pipeline import TabDAR
from tabdar_pipeline.codec.number import NumberSettings
from tabdar_pipeline.fitting import PAPER, Design

RECORDS, PLOT, SEED = RESULTS / "ablation.json", IMAGES / "ablation.png", 0
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
    "Adam alone": Ours(Design(training={"matrix_rate": 0.0, "learning_rate": 5e-3})),
    "two encoder blocks": Ours(Design(sizes={"layers": 2})),
    "no average of weights": Ours(Design(training={"ema_steps": 0.0})),
    "no dropout": Ours(Design(training={"dropout": 0.0})),
}
JOBS = ("ours", "reveal: mixed", "reveal: paper", "+ only what is visible is encoded")


def main() -> None:
    arguments = parser(__doc__, 45)
    arguments.add_argument("--only", nargs="*", choices=[*PATH, *ALONE], default=[*PATH, *ALONE])
    args = arguments.parse_args()
    torch.set_num_threads(1)
    for table in args.tables:
        bench = halves(args, table)
        for name in args.only:
            key = {"table": table, "design": name, "seconds": args.seconds, "seed": SEED}
            rows = learned(bench, name, args.seconds)
            if args.fit_only or any({k: r[k] for k in key} == key for r in records(RECORDS)):
                continue
            found = bench.score(rows(), "ablation")
            if name in JOBS:
                found |= other_jobs(bench, model(bench, name, args.seconds))
            keep(RECORDS, key, found)
            print(table, name, {k: round(found["synthetic"][k], 3) for k in FIGURES}, flush=True)
    draw(records(RECORDS))


def learned(bench: Halves, name: str, seconds: float) -> Callable[[], pa.Table]:
    """What draws as many rows as a design learned from; those of a published one are drawn once, and kept."""
    it = (PATH | ALONE)[name]
    if isinstance(it, Ours):
        fitted = model(bench, name, seconds)
        return lambda: fitted.sample(len(bench.train), seed=1, format="arrow")
    out = bench.work / f"{words(name)}-{seconds:.0f}-{SEED}.parquet"
    if not out.is_file():
        with cpu_seconds():
            network = published.fit(bench.train, it, seconds=seconds, seed=SEED, precision=torch.bfloat16)
        pq.write_table(network.sample(len(bench.train), torch.Generator().manual_seed(1)), out)
    return lambda: pq.read_table(out)


def model(bench: Halves, name: str, seconds: float) -> TabDAR:
    """One of our designs."""
    it = (PATH | ALONE)[name]
    given = None if it.rules else ()
    return bench.model(words(name), bench.train, seconds, constraints=given, design=it.design, **it.settings)


def words(name: str) -> str:
    """A design's name as that of a file."""
    return "".join(c if c.isalnum() else "-" for c in name)


def other_jobs(bench: Halves, fitted: TabDAR) -> dict:
    """The judge's figures of hidden cells, estimated, and of fresh rows of which every second column is real."""
    files = [bench.work / f"{name}.parquet" for name in ("train", "holdout", "masked", "filled")]
    bench.judge("mask", bench.table, *files[1:3])
    pq.write_table(fitted.impute(pq.read_table(files[2]), point="mean"), files[3])
    given = bench.holdout.select(bench.holdout.column_names[::2])
    completed = bench.score(fitted.sample(given=given, seed=1, format="arrow"), "completed")
    return {
        "imputed": json.loads(bench.judge("impute", bench.table, *files)),
        "completed": completed["synthetic"],
    }


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
