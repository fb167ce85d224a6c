"""Where it degrades: skew, number of levels, of columns, of rows, on tables whose truth is known.

    python benchmarks/scale.py [--seconds 30] [--families skew levels columns rows] [--workers 2]

Each table is learned for so many seconds of one core, in a process of its own. As many rows as were learned (no more
than DRAWN) are drawn and compared with TRUE fresh ones; the floor is what as many fresh rows score.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import torch
from halves import IMAGES, RESULTS, keep, records
from models import cpu_seconds

from tabdar_pipeline import TabDAR
from tabdar_pipeline.quality.fidelity import pair_errors, shape_errors, trend_error
from tabdar_pipeline.quality.plain import Plain, plain

RECORDS, PLOT = RESULTS / "scale.json", IMAGES / "scale.png"
DRAWN, TRUE = 50_000, 200_000
Rng = np.random.Generator


def skew(rng: Rng, rows: int, share: float) -> dict:
    """One level has this share of the rows; the other comes where x is high, and moves y."""
    x = rng.normal(size=rows)
    odds = np.exp(2 * x)
    rare = rng.random(rows) < (1 - share) * odds / np.exp(2)  # e ** 2 is the mean of the odds
    return {
        "level": np.where(rare, "rare", "common"),
        "x": x,
        "y": x + 2 * rare + 0.5 * rng.normal(size=rows),
    }


def levels(rng: Rng, rows: int, count: float) -> dict:
    """So many levels, the frequent much more so; each has its price, and its shops."""
    weight = 1 / (np.arange(int(count)) + 10)
    level = rng.choice(int(count), rows, p=weight / weight.sum())
    price = np.exp(level * 0.618 % 1 * 3 + 0.2 * rng.normal(size=rows))
    return {
        "product": level.astype(str),
        "price": price,
        "shop": ((level + rng.poisson(2, rows)) % 20).astype(str),
    }


def columns(rng: Rng, rows: int, count: float) -> dict:
    """A chain of so many columns; every third is a category of four levels."""
    found, last = {}, rng.normal(size=rows)
    for i in range(int(count)):
        last = 0.8 * last + 0.6 * rng.normal(size=rows)
        found[f"c{i}"] = np.digitize(last, [-0.7, 0, 0.7]).astype(str) if i % 3 == 2 else last
    return found


def rows(rng: Rng, rows: int, _: float) -> dict:
    """Ten columns of that chain."""
    return columns(rng, rows, 10)


@dataclass(frozen=True)
class Case:
    """A table of a family."""

    family: str
    size: float
    rows: int


MADE: dict[str, Callable[[Rng, int, float], dict]] = {f.__name__: f for f in (skew, levels, columns, rows)}
CASES = [
    *(Case("skew", share, 100_000) for share in (0.9, 0.99, 0.999, 0.9999)),
    *(Case("levels", count, 100_000) for count in (10, 100, 1000, 10_000, 50_000)),
    *(Case("columns", count, 10_000) for count in (3, 10, 30, 100, 300)),
    *(Case("rows", count, count) for count in (300, 3000, 30_000, 300_000, 1_000_000)),
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--families", nargs="*", choices=MADE, default=list(MADE))
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    known = [(r["family"], r["size"], r["seconds"]) for r in records(RECORDS)]
    todo = [c for c in CASES if c.family in args.families and (c.family, c.size, args.seconds) not in known]
    fresh = multiprocessing.get_context("spawn")  # its peak of memory is that of one case
    with ProcessPoolExecutor(args.workers, mp_context=fresh, max_tasks_per_child=1) as pool:
        running = {pool.submit(measure, case, args.seconds): case for case in todo}
        for future in as_completed(running):
            found, key = future.result(), {**vars(running[future]), "seconds": args.seconds}
            keep(RECORDS, key, found)
            print(key, found, flush=True)
    draw(records(RECORDS))


def measure(case: Case, seconds: float) -> dict:
    torch.set_num_threads(1)
    learned = table(case, 0, case.rows)
    with cpu_seconds():
        model = TabDAR.fit(learned, name=case.family, seconds=seconds, seed=0, threads=1)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    drawn, last = min(case.rows, DRAWN), model.history[-1]
    started = time.process_time()
    made = model.sample(drawn, seed=1, engine="torch", format="arrow")
    spent = time.process_time() - started
    real, ours, floor = plain([table(case, 1, TRUE), made, table(case, 2, drawn)], model.schema)
    return {
        "synthetic": figures(real, ours),
        "floor": figures(real, floor),
        "peak_mb": peak_mb,
        "epochs": last.epoch,
        "trained_s": last.seconds,
        "rows_per_second": drawn / spent,
        "rare": [float((np.asarray(t["level"]) == "rare").mean()) for t in (table(case, 1, TRUE), made)]
        if case.family == "skew"
        else None,
    }


def table(case: Case, stream: int, count: int) -> pa.Table:
    """Rows of a case; streams are independent."""
    return pa.table(MADE[case.family](np.random.default_rng([stream, count]), count, case.size))


def figures(real: Plain, other: Plain) -> dict:
    shapes = shape_errors(real, other)
    return {
        "shape_error": float(np.mean(list(shapes.values()))),
        "worst_shape": max(shapes.values()),
        "trend_error": trend_error(pair_errors(real, other)),
    }


def draw(found: list[dict]) -> None:
    """Errors beside their floor, and peak memory, by family."""
    words = {"skew": "share of the common level", "levels": "levels", "columns": "columns", "rows": "rows"}
    words = {family: word for family, word in words.items() if any(r["family"] == family for r in found)}
    figure, axes = plt.subplots(
        3, len(words), figsize=(3.6 * len(words), 7), sharey="row", squeeze=False, layout="constrained"
    )
    for column, (family, word) in zip(axes.T, words.items(), strict=True):
        here = sorted((r for r in found if r["family"] == family), key=lambda r: r["size"])
        sizes = [1 / (1 - r["size"]) if family == "skew" else r["size"] for r in here]
        for axis, key in zip(column, ("shape_error", "trend_error"), strict=False):
            axis.plot(sizes, [r["synthetic"][key] for r in here], "o-", label="synthetic rows")
            axis.plot(sizes, [r["floor"][key] for r in here], "s--", color="grey", label="as many real ones")
        column[2].plot(sizes, [r["peak_mb"] for r in here], "o-")
        for axis in column:
            axis.set(xscale="log", xticks=sizes)
            axis.set_xticks(sizes, [f"{r['size']:g}" for r in here], fontsize=7)
            axis.minorticks_off()
        column[2].set_xlabel(word)
    for axis, word in zip(axes[:, 0], ("shape error, %", "trend error, %", "peak memory, MB"), strict=True):
        axis.set_ylabel(word)
        axis.set_yscale("log")
    axes[0, 0].legend()
    figure.savefig(PLOT, dpi=75)
    plt.close(figure)


if __name__ == "__main__":
    main()
