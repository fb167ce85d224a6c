"""Whether training has converged: loss by noise level and by column, over the seconds.

    python benchmarks/convergence.py BENCHMARKS JUDGE_PYTHON MODELS adult magic [--seconds 60]

At each record of a run, the averaged weights are asked for the cross-entropy of each column and for the denoising loss
at each of LEVELS, with the same orders and noise, on rows that were not learned. A residual that is standard normal
whatever its row costs 1 at every noise level: what lies below is learned. Ours is followed, and the paper's pure form, in
which the diffusion has no codes before it.
"""

import time
from collections.abc import Iterator
from itertools import product

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import torch
from halves import IMAGES, RESULTS, halves, keep, parser, records
from models import cpu_seconds

from tabdar_pipeline.codec.encoded import EncodedTable
from tabdar_pipeline.fitting import OURS, PAPER, Design, FitSettings, column_specs, fit_codec
from tabdar_pipeline.model import batches, training
from tabdar_pipeline.model.batches import Rows
from tabdar_pipeline.model.config import ModelConfig, TrainConfig
from tabdar_pipeline.model.diffusion import denoising_loss
from tabdar_pipeline.model.presets import SIZES
from tabdar_pipeline.model.tabdar import TabDAR
from tabdar_pipeline.model.workers import Workers
from tabdar_pipeline.schemas.infer import infer_schema

RECORDS, PLOT = RESULTS / "convergence.json", IMAGES / "convergence.png"
LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
HELD, ASKED = 2000, 500  # rows to validate on, and of these the ones that costs are taken of
DESIGNS = {"ours": OURS, "paper": PAPER}


def main() -> None:
    args = parser(__doc__, 60).parse_args()
    torch.set_num_threads(1)
    for table, name in product(args.tables, DESIGNS):
        with cpu_seconds():
            found = list(followed(halves(args, table).train, args.seconds, DESIGNS[name]))
        key = {"table": table, "design": name, "seconds": args.seconds}
        keep(RECORDS, key, {"levels": LEVELS, "history": found})
        print(key, {k: found[-1][k] for k in ("step", "by_level")}, flush=True)
    draw(records(RECORDS))


def followed(rows: pa.Table, seconds: float, design: Design) -> Iterator[dict]:
    """Train on rows, and say at each record what every column and noise level costs."""
    started, schema = time.perf_counter(), infer_schema(rows, "table")
    codec = fit_codec(rows, schema, None, FitSettings(), design)
    encoded = codec.encode(rows, schema, np.random.default_rng(0))
    torch.manual_seed(0)
    network = TabDAR(column_specs(codec), ModelConfig(**SIZES["small"].network))
    network.heads.share(fresh=True)
    config = TrainConfig(reveal=design.reveal)
    order, learner = (
        np.random.default_rng(0).permutation(len(encoded)),
        training.learner(network, config, 0, Workers()),
    )
    learned, held = (tensors(encoded.take(part)) for part in (order[HELD:], order[:HELD]))
    asked = held.take(torch.arange(ASKED))
    names = [column.name for column in schema.modelled]
    budget = training.Budget(seconds, None)
    run = training.train(learner, learned, held, config, budget, precision=torch.bfloat16, started=started)
    for record in run:
        spent = {"step": record.step, "seconds": record.seconds, "validation_loss": record.validation_loss}
        yield spent | costs(learner.average.eval(), asked, config, names)


def tensors(encoded: EncodedTable) -> Rows:
    return Rows(*map(torch.from_numpy, (encoded.codes, encoded.values, encoded.known)))


@torch.no_grad()
def costs(network: TabDAR, held: Rows, config: TrainConfig, names: list[str]) -> dict:
    """Nats a cell of each column, and the denoising loss by noise level and by column."""
    rng = torch.Generator().manual_seed(0)
    batch = batches.batch(held, config, rng)
    z = network.conditions(batch)
    codes = network.heads(z, batch.codes)
    flat = batch.codes + network.offsets
    cells = network.continuous[flat].nonzero(as_tuple=True)
    condition = network.denoiser.condition(z[cells], flat[cells])
    sigma = torch.tensor(LEVELS).expand(len(cells[0]), -1)
    noise = torch.randn(sigma.shape, generator=rng)
    error = denoising_loss(
        lambda x, level: network.denoiser(x, level, condition), batch.values[cells][:, None], sigma, noise
    )
    within = {n: error[cells[1] == c].mean().item() for c, n in enumerate(names) if (cells[1] == c).any()}
    return {
        "codes": dict(zip(names, codes.mean(dim=0).tolist(), strict=True)),
        "denoising": within,
        "by_level": error.mean(dim=0).tolist(),
    }


def draw(found: list[dict]) -> None:
    """Columns of plots: codes by column (beyond the end), denoising by noise level, denoising by column."""
    figure, axes = plt.subplots(
        len(found), 3, figsize=(12, 3.2 * len(found)), layout="constrained", squeeze=False
    )
    for row, record in zip(axes, found, strict=True):
        history = record["history"]
        seconds = [h["seconds"] for h in history]
        for name in history[0]["codes"]:
            costs_ = np.array([h["codes"][name] for h in history])
            row[0].plot(seconds, np.maximum(costs_ - costs_.min(), 1e-4), lw=1)
        shades = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(record["levels"])))
        for i, (level, shade) in enumerate(zip(record["levels"], shades, strict=True)):
            row[1].plot(seconds, [h["by_level"][i] for h in history], color=shade, label=f"{level:g}")
        for name in history[0]["denoising"]:
            row[2].plot(seconds, [h["denoising"].get(name) for h in history], lw=1, label=name)
        row[0].set(
            yscale="log",
            ylabel=f"{record['table']}, {record['design']}",
            title="codes: nats above the lowest, by column",
        )
        row[1].set(title="denoising loss by noise level")
        row[2].set(title="denoising loss by column")
        row[1].legend(fontsize=7, ncols=2)
        row[2].legend(fontsize=7, ncols=2)
        for axis in row:
            axis.set_xlabel("seconds of one core")
    figure.savefig(PLOT, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
