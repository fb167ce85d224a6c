"""Whether training has converged: loss by noise level and by column, over the seconds.

    python benchmarks/convergence.py BENCHMARKS JUDGE_PYTHON MODELS adult magic [--seconds 60]

At each record of a run, the averaged weights are asked for the cross-entropy of each column and for the denoising loss
at each of LEVELS, with the same orders and noise, on rows that were not learned. A residual that is standard normal
whatever its row costs 1 at every noise level: what lies below is learned.
"""

import time
from collections.abc import Iterator

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import torch
from halves import IMAGES, RESULTS, halves, keep, parser, records
from models import cpu_seconds

from tabdar_pipeline.codec.encoded import EncodedTable
from tabdar_pipeline.fitting import FitSettings, column_specs, fit_codec
from tabdar_pipeline.model import training
from tabdar_pipeline.model.config import ModelConfig, TrainConfig
from tabdar_pipeline.model.diffusion import denoising_loss
from tabdar_pipeline.model.tabdar import TabDAR
from tabdar_pipeline.model.workers import Workers
from tabdar_pipeline.schemas.infer import infer_schema

RECORDS, PLOT = RESULTS / "convergence.json", IMAGES / "convergence.png"
LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
HELD = 2000


def main() -> None:
    args = parser(__doc__, 60).parse_args()
    torch.set_num_threads(1)
    for table in args.tables:
        with cpu_seconds():
            found = list(followed(halves(args, table).train, args.seconds))
        keep(RECORDS, {"table": table, "seconds": args.seconds}, {"levels": LEVELS, "history": found})
        print(table, {k: found[-1][k] for k in ("step", "by_level")}, flush=True)
    draw(records(RECORDS))


def followed(rows: pa.Table, seconds: float) -> Iterator[dict]:
    """Train on rows, and say at each record what every column and noise level costs."""
    started, schema = time.perf_counter(), infer_schema(rows, "table")
    codec = fit_codec(rows, schema, None, FitSettings())
    encoded = codec.encode(rows, schema, np.random.default_rng(0))
    torch.manual_seed(0)
    network, config = TabDAR(column_specs(codec), ModelConfig()), TrainConfig()
    order, learner = (
        np.random.default_rng(0).permutation(len(encoded)),
        training.learner(network, config, 0, Workers()),
    )
    learned, held = (tensors(encoded.take(part)) for part in (order[HELD:], order[:HELD]))
    names = [column.name for column in schema.modelled]
    budget = training.Budget(seconds, None)
    run = training.train(learner, learned, held, config, budget, precision=torch.bfloat16, started=started)
    for record in run:
        spent = {"step": record.step, "seconds": record.seconds, "validation_loss": record.validation_loss}
        yield spent | costs(learner.average.eval(), held, config, names)


def tensors(encoded: EncodedTable) -> training.Rows:
    return training.Rows(*map(torch.from_numpy, (encoded.codes, encoded.values, encoded.known)))


@torch.no_grad()
def costs(network: TabDAR, held: training.Rows, config: TrainConfig, names: list[str]) -> dict:
    """Nats a cell of each column, and the denoising loss by noise level and by column."""
    rng = torch.Generator().manual_seed(0)
    batch = training.batch(held, config, rng)
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
        row[0].set(yscale="log", ylabel=record["table"], title="codes: nats above the lowest, by column")
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
