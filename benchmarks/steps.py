"""Where the time of training goes: seconds of one core in each part of a step.

    python benchmarks/steps.py BENCHMARKS JUDGE_PYTHON MODELS adult magic beijing [--seconds 30]

The judge halves each table, and one half is learned. Parts are timed from outside, at their calls; what backward spends is not told
apart.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import torch
from halves import RESULTS, halves, keep, parser
from models import cpu_seconds

from tabdar_pipeline import TabDAR
from tabdar_pipeline.model import training
from tabdar_pipeline.model.backbone import Block
from tabdar_pipeline.model.denoiser import Denoiser
from tabdar_pipeline.model.embedding import ColumnEmbedding
from tabdar_pipeline.model.heads import CategoricalHeads

RECORDS = RESULTS / "steps.json"
PARTS: dict[str, list[tuple[Any, str]]] = {
    "rows, orders and noise": [(training, "batch"), (training, "noise"), (training.Rows, "take")],
    "tokens": [(ColumnEmbedding, "forward")],
    "attention and MLPs": [(Block, "forward")],
    "heads": [(CategoricalHeads, "forward")],
    "denoiser": [(Denoiser, "condition"), (Denoiser, "forward")],
    "backward": [(torch.Tensor, "backward")],
    "norm of the gradient": [(torch.nn.utils, "clip_grad_norm_")],
    "Adam": [(torch.optim.Adam, "step")],
    "Muon": [(torch.optim.Muon, "step")],
    "average of weights": [(training, "_follow")],
    "validation": [(training, "_record")],
}


def main() -> None:
    args = parser(__doc__, 30).parse_args()
    torch.set_num_threads(1)
    for table in args.tables:
        found = spent(halves(args, table).train, args.seconds)
        keep(RECORDS, {"table": table, "seconds": args.seconds}, found)
        print(table, {k: f"{share:.1%}" for k, share in found["shares"].items()}, flush=True)


def spent(rows: pa.Table, seconds: float) -> dict:
    """Each part's share of the time, from the first step on."""
    parts: dict[str, float] = defaultdict(float)
    with cpu_seconds(), watched(parts):
        model = TabDAR.fit(rows, name="table", seconds=seconds, seed=0, threads=1)
    whole, steps = parts.pop("whole"), model.history[-1].step
    parts["all else"] = whole - sum(parts.values())
    return {
        "steps": steps,
        "milliseconds_a_step": 1000 * whole / steps,
        "shares": {name: part / whole for name, part in parts.items()},
    }


@contextmanager
def watched(parts: dict[str, float]) -> Iterator[None]:
    """Add up the seconds of each part, and of all training; what validation does is its own."""
    inside: list[str] = []
    train = training.train

    def all_of_it(*args: Any, **settings: Any) -> Iterator[training.EpochRecord]:
        started = time.perf_counter()
        yield from train(*args, **settings)
        parts["whole"] = time.perf_counter() - started

    with ExitStack() as stack:
        stack.enter_context(patch.object(training, "train", all_of_it))
        for part, calls in PARTS.items():
            for owner, name in calls:
                watch = timed(getattr(owner, name), part, parts, inside)
                stack.enter_context(patch.object(owner, name, watch))
        yield


def timed(call: Callable, part: str, parts: dict[str, float], inside: list[str]) -> Callable:
    """The call, its seconds added to its part unless it is within another."""

    def watch(*args: Any, **settings: Any) -> Any:
        if inside:
            return call(*args, **settings)
        inside.append(part)
        started = time.perf_counter()
        try:
            return call(*args, **settings)
        finally:
            inside.pop()
            parts[part] += time.perf_counter() - started

    return watch


if __name__ == "__main__":
    main()
