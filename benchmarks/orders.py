"""One fitted model, sampled differently: orders of columns, columns decoded at once, steps of the solver.

    python benchmarks/orders.py BENCHMARKS JUDGE_PYTHON MODELS adult magic [--seconds 45] [--fit-only]

Blocks of 1,024 rows; everything but what is varied is as the package does it. `information` is the mean mutual
information of a column's codes with those of each other column. Rows a second are those of one core, engine torch.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import torch
from halves import IMAGES, RESULTS, Halves, halves, keep, parser, records

from tabdar_pipeline import TabDAR
from tabdar_pipeline.codec.table import Block
from tabdar_pipeline.model.engine import TorchEngine
from tabdar_pipeline.sampling.complete import pick
from tabdar_pipeline.sampling.draws import BLOCK_ROWS, Draws
from tabdar_pipeline.sampling.engine import Cells
from tabdar_pipeline.sampling.ties import barred, leaders_first

RECORDS, PLOT = RESULTS / "orders.json", IMAGES / "orders.png"
FIGURES = {"shape_error": "shape", "trend_error": "trend", "c2st_boosted": "C2ST", "utility": "utility"}


@dataclass(frozen=True)
class Way:
    """How rows are drawn."""

    order: str = "random for each block"
    at_once: int = 1
    steps: int = 2


WAYS = [
    Way(),
    *(Way(order) for order in ("one random order", "as the table has them", "fewest codes first")),
    *(Way(order) for order in ("most information first", "least information first")),
    *(Way(at_once=n) for n in (2, 4, 100)),
    *(Way(steps=n) for n in (1, 3, 5, 10, 20)),
]


def main() -> None:
    args = parser(__doc__, 45).parse_args()
    torch.set_num_threads(1)
    for table in args.tables:
        bench = halves(args, table)
        model = bench.model("ours", bench.train, args.seconds)
        for way in WAYS:
            key = {"table": table, "seconds": args.seconds, **vars(way)}
            if args.fit_only or any({k: r[k] for k in key} == key for r in records(RECORDS)):
                continue
            keep(RECORDS, key, judged(bench, model, way))
            last = records(RECORDS)[-1]
            print(key, {k: round(last["synthetic"][k], 3) for k in FIGURES}, flush=True)
    draw(records(RECORDS))


def judged(bench: Halves, model: TabDAR, way: Way) -> dict:
    started = time.process_time()
    made = drawn(model, len(bench.train), way, ordered(model, bench.train, way.order))
    rows_per_second = len(bench.train) / (time.process_time() - started)
    scores = bench.score(made, "orders")
    return {"rows_per_second": rows_per_second} | {k: scores[k] for k in ("synthetic", "floor")}


def ordered(model: TabDAR, rows: pa.Table, order: str) -> Callable[[Draws], Sequence[int]]:
    """The order of a block's columns, from its draws."""
    codes = [codec.levels for codec in model.codec.columns]
    if order == "random for each block":
        return lambda draws: draws.order
    fixed: dict[str, Callable[[], Sequence[int]]] = {
        "one random order": lambda: Draws.of(1, 0, len(codes)).order,
        "as the table has them": lambda: range(len(codes)),
        "fewest codes first": lambda: np.argsort(codes, kind="stable").tolist(),
        "most information first": lambda: np.argsort(-information(model, rows)).tolist(),
        "least information first": lambda: np.argsort(information(model, rows)).tolist(),
    }
    found = fixed[order]()
    return lambda _: found


def information(model: TabDAR, rows: pa.Table) -> np.ndarray:
    """Mean mutual information (C,) of each column's codes with those of the others, in nats."""
    codes = model.codec.encode(rows, model.schema).codes
    columns = range(codes.shape[1])
    return np.array([np.mean([mutual(codes[:, i], codes[:, j]) for j in columns if j != i]) for i in columns])


def mutual(a: np.ndarray, b: np.ndarray) -> float:
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    some = joint > 0
    return float((joint[some] * np.log(joint[some] / apart[some])).sum())


def drawn(model: TabDAR, rows: int, way: Way, order: Callable[[Draws], Sequence[int]]) -> pa.Table:
    """Rows of the model, block by block."""
    engine = TorchEngine(model.network, steps=way.steps, reveal="cached")
    batches = []
    for block in range(-(-rows // BLOCK_ROWS)):
        draws = Draws.of(1, block, len(model.codec.columns))
        columns = leaders_first(order(draws), model.codec.rules.ties)
        cells = completed(engine, model, columns, way.at_once, draws)
        coded = Block(cells.codes, cells.values, block * BLOCK_ROWS, 1)
        batches.append(model.codec.decode(coded, model.schema))
    return pa.Table.from_batches(batches).slice(0, rows)


def completed(engine: TorchEngine, model: TabDAR, order: Sequence[int], at_once: int, draws: Draws) -> Cells:
    """A block of rows: some columns are asked for, and drawn as if independent, before all of them are revealed."""
    shape = draws.uniform.shape
    cells, known = Cells.empty(*shape), np.zeros(shape, bool)
    with engine.memory(len(known)) as memory:
        for first in range(0, len(order), at_once):
            group = np.array(order[first : first + at_once])
            for column in group.tolist():
                free = engine.ask(memory, column)
                logits = barred(free.logits, column, cells, known, model.codec.rules.ties)
                cells.codes[:, column] = pick(logits, draws.uniform[:, column])
                flat = cells.codes[:, column] + engine.offsets[column]
                dense = engine.continuous[flat]
                if dense.any():
                    noise = draws.normal[dense, column]
                    cells.values[dense, column] = engine.residuals(free.z[dense], flat[dense], noise)
            known[:, group] = True
            engine.remember(memory, group, known[:, group], cells)
    return cells


def draw(found: list[dict]) -> None:
    """Distance from the floor: by order, by columns at once, by solver steps."""
    usual = Way()
    parts = {
        "order of columns": [w for w in WAYS if (w.at_once, w.steps) == (1, usual.steps)],
        "columns decoded at once": [w for w in WAYS if (w.order, w.steps) == (usual.order, usual.steps)],
        "steps of the solver": sorted(
            (w for w in WAYS if (w.order, w.at_once) == (usual.order, 1)), key=lambda w: w.steps
        ),
    }
    words = [lambda w: w.order, lambda w: str(w.at_once), lambda w: str(w.steps)]
    tables = list(dict.fromkeys(r["table"] for r in found))
    figure, axes = plt.subplots(len(parts), len(FIGURES), figsize=(12, 8), layout="constrained")
    for row, (title, ways), word in zip(axes, parts.items(), words, strict=True):
        for axis, (key, figure_name) in zip(row, FIGURES.items(), strict=True):
            for table in tables:
                of = {tuple(r[k] for k in vars(usual)): r for r in found if r["table"] == table}
                here = [w for w in ways if tuple(vars(w).values()) in of]
                scores = [of[tuple(vars(w).values())] for w in here]
                excess = [abs(s["synthetic"][key] - s["floor"][key]) for s in scores]
                axis.plot(excess, [word(w) for w in here], "o-", label=table)
            axis.set_title(figure_name if title == "order of columns" else "", fontsize=10)
            axis.set_xlim(0)
        row[0].set_ylabel(title)
        for axis in row[1:]:
            axis.set_yticklabels([])
    axes[0, 0].legend()
    figure.supxlabel("distance from the floor")
    figure.savefig(PLOT, dpi=75)
    plt.close(figure)


if __name__ == "__main__":
    main()
