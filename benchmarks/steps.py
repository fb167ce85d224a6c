"""Where the time of training goes: seconds of one core in each part of a step.

    python benchmarks/steps.py BENCHMARKS JUDGE_PYTHON MODELS adult magic beijing [--seconds 30]

The judge halves each table, and one half is learned. Parts are timed from outside, at their calls; what backward spends is not told
apart.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import torch
from halves import RESULTS, halves, keep, parser
from models import cpu_seconds

from tabdar_pipeline import TabDAR
from tabdar_pipeline.model import descent, training
from tabdar_pipeline.model.backbone import Block
from tabdar_pipeline.model.batches import Rows
from tabdar_pipeline.model.denoiser import Denoiser
from tabdar_pipeline.model.embedding import ColumnEmbedding
from tabdar_pipeline.model.heads import CategoricalHeads
from tabdar_pipeline.model.muon import Muon
from tabdar_pipeline.sampling.stopwatch import Stopwatch

RECORDS = RESULTS / "steps.json"
PARTS: dict[str, list[tuple[Any, str]]] = {
    "rows, orders and noise": [(descent, "batch"), (descent, "noise"), (Rows, "take")],
    "tokens": [(ColumnEmbedding, "forward")],
    "attention and MLPs": [(Block, "forward")],
    "heads": [(CategoricalHeads, "forward")],
    "denoiser": [(Denoiser, "condition"), (Denoiser, "forward")],
    "backward": [(torch.Tensor, "backward")],
    "norm of the gradient": [(torch.nn.utils, "clip_grad_norm_")],
    "Adam": [(torch.optim.Adam, "step")],
    "Muon": [(Muon, "step")],
    "average of weights": [(descent.Descent, "_follow")],
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
    watch = Stopwatch()
    with cpu_seconds(), watched(watch):
        model = TabDAR.fit(rows, name="table", seconds=seconds, seed=0, threads=1)
    parts, steps = watch.seconds, model.history[-1].step
    whole = parts.pop("whole")
    parts["all else"] = whole - sum(parts.values())
    return {
        "steps": steps,
        "milliseconds_a_step": 1000 * whole / steps,
        "shares": {name: part / whole for name, part in parts.items()},
    }


@contextmanager
def watched(watch: Stopwatch) -> Iterator[None]:
    """Time each part, and all of training; what validation does is its own."""
    inside: list[str] = []
    train = training.train

    def all_of_it(*args: Any, **settings: Any) -> Iterator[training.EpochRecord]:
        with watch.time("whole"):
            yield from train(*args, **settings)

    with ExitStack() as stack:
        stack.enter_context(patch.object(training, "train", all_of_it))
        for part, calls in PARTS.items():
            for owner, name in calls:
                call = timed(getattr(owner, name), part, watch, inside)
                stack.enter_context(patch.object(owner, name, call))
        yield


def timed(call: Callable, part: str, watch: Stopwatch, inside: list[str]) -> Callable:
    """The call, its seconds counted to its part unless it is within another."""

    def watched_call(*args: Any, **settings: Any) -> Any:
        if inside:
            return call(*args, **settings)
        inside.append(part)
        try:
            with watch.time(part):
                return call(*args, **settings)
        finally:
            inside.pop()

    return watched_call


if __name__ == "__main__":
    main()
