"""The design that the authors of TabDAR published code for, written anew from their paper: the ablation's other end.

All numbers lie in one token and are drawn by one joint diffusion; a masked column is a mask token that goes through
the whole stack; a batch has one count of visible columns. Each of the three is a switch. It descends, keeps its budget
and its best weights by the same training loop as ours.

B rows, G tokens of numbers with D numbers each, K categories, T = G + K tokens, E width.
"""

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Protocol
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import torch
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor, nn

from tabdar_pipeline.codec.number import NumberCodec
from tabdar_pipeline.codec.table import TableCodec, decode_column
from tabdar_pipeline.fitting import PAPER
from tabdar_pipeline.model import batches, training
from tabdar_pipeline.model.backbone import Block, Blocks
from tabdar_pipeline.model.batches import Rows
from tabdar_pipeline.model.config import ModelConfig, TrainConfig
from tabdar_pipeline.model.denoiser import DenoiserBlock
from tabdar_pipeline.model.diffusion import denoise
from tabdar_pipeline.model.heads import CategoricalHeads
from tabdar_pipeline.model.spec import CodeTable, ColumnSpec
from tabdar_pipeline.model.tabdar import Batch, Loss
from tabdar_pipeline.model.workers import Workers
from tabdar_pipeline.sampling.heun import heun
from tabdar_pipeline.sampling.schedule import angles
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.schemas.types import arrow_type

BATCH, BLOCK, HELD = 256, 1024, 2000
STEPS = {True: 20, False: 8}  # of the solver: joint or each
SIZES = ModelConfig(layers=2)  # as many blocks as ours: it has no decoder
JOINT = replace(SIZES, denoiser_width=256)  # all numbers at once need more room


@dataclass(frozen=True)
class Switches:
    """What of the published design is kept."""

    joint: bool = True  # one token and one diffusion for all numbers, or one each
    count_a_batch: bool = True  # or each row its own
    quantile_transformer: bool = True  # or the randomised transform


class Numbers(Protocol):
    """Numbers as standard normal scores (N, D), and back."""

    def scores(self, table: pa.Table) -> np.ndarray: ...
    def column(self, scores: np.ndarray, place: int) -> pa.Array: ...


class Transformed:
    """scikit-learn's QuantileTransformer; whole numbers are rounded."""

    def __init__(self, table: pa.Table, names: list[str]) -> None:
        self.names, self.kinds = names, [table.schema.field(n).type for n in names]
        self.transformer = QuantileTransformer(
            n_quantiles=min(1000, len(table)), output_distribution="normal", subsample=None, random_state=0
        ).fit(self._matrix(table))

    def _matrix(self, table: pa.Table) -> np.ndarray:
        return np.stack([table[n].to_numpy().astype(float) for n in self.names], axis=1)

    def scores(self, table: pa.Table) -> np.ndarray:
        return self.transformer.transform(self._matrix(table))

    def column(self, scores: np.ndarray, place: int) -> pa.Array:
        values = self.transformer.inverse_transform(scores)[:, place]
        whole = pa.types.is_integer(self.kinds[place])
        return pa.array(np.rint(values) if whole else values).cast(self.kinds[place], safe=False)


class Randomised:
    """Our codec without values or bins of its own: equal numbers lie anywhere in their interval of ranks."""

    def __init__(self, codecs: list[NumberCodec], table: pa.Table, names: list[str]) -> None:
        self.codecs, self.names, self.kinds = codecs, names, [table.schema.field(n).type for n in names]

    def scores(self, table: pa.Table) -> np.ndarray:
        rng = np.random.default_rng(0)
        cells = [
            c.encode(table[n].combine_chunks(), rng) for c, n in zip(self.codecs, self.names, strict=True)
        ]
        return np.stack([c.residuals for c in cells], axis=1)

    def column(self, scores: np.ndarray, place: int) -> pa.Array:
        codes = np.zeros(len(scores), np.int64)
        return decode_column(self.codecs[place], codes, scores[:, place], self.kinds[place])


class Network(nn.Module):
    """A transformer over all tokens, masked ones included; a head for each category; a diffusion of numbers."""

    def __init__(self, levels: list[int], groups: int, size: int, config: ModelConfig) -> None:
        super().__init__()
        self.config, width, self.groups = config, config.width, groups
        table = CodeTable.of([ColumnSpec(n) for n in levels])
        self.register_buffer("offsets", torch.from_numpy(table.offsets[:-1].copy()))
        self.number = nn.Parameter(torch.randn(groups, size, width) * size**-0.5)
        self.code = nn.Embedding(len(table.low), width)
        self.place = nn.Parameter(torch.randn(groups + len(levels), width) * 0.5)
        self.mask = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = Blocks(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.heads = CategoricalHeads(table, config)
        self.lift = nn.Linear(size + 9, config.denoiser_width)
        self.level = nn.Sequential(nn.Linear(9, config.denoiser_width), nn.SiLU())
        self.denoiser = nn.ModuleList(
            DenoiserBlock(config.denoiser_width, width) for _ in range(config.denoiser_blocks)
        )
        self.out = nn.Linear(config.denoiser_width, size)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def conditions(self, codes: Tensor, values: Tensor, visible: Tensor) -> Tensor:
        """Codes (B, K), values (B, G, D), visible (B, T) -> z (B, T, E)."""
        tokens = torch.einsum("bgd,gde->bge", values, self.number)
        tokens = torch.cat([tokens, self.code(codes + self.offsets).to(tokens.dtype)], dim=1)
        x = torch.where(visible[..., None], tokens, self.mask.to(tokens.dtype)) + self.place
        hidden = torch.zeros(1, device=x.device)
        for block in self.blocks:
            x = block(x, block.attention.remember(block.norm(x)), hidden)
        return self.norm(x)

    def slope(self, x: Tensor, noise: Tensor, z: Tensor) -> Tensor:
        """F of EDM: scaled numbers x (M, D), c_noise (M, 1), conditions (M, E) -> (M, D)."""
        waves = noise * 2.0 ** torch.arange(4, device=x.device)
        level = torch.cat([noise, torch.sin(waves), torch.cos(waves)], dim=-1)
        h, level = self.lift(torch.cat([x, level], dim=-1))[:, None], self.level(level)[:, None]
        cell = nn.functional.silu(z)
        for block in self.denoiser:
            h = block(h, block.modulate(cell)[:, None], level)
        return self.out(h)[:, 0]

    def loss(self, batch: Batch, sigma: Tensor, noise: Tensor, keep: Tensor | None = None) -> Loss:
        """As ours; sigma and noise are (B, T, D), and a token has one noise level. It has no dropout."""
        assert keep is None
        codes = batch.codes[:, self.groups :]
        z = self.conditions(codes, batch.values, batch.times == 0)
        weight = batch.weight[:, self.groups :]
        categorical = (self.heads(z[:, self.groups :], codes) * weight).sum() / len(z)
        cells = (batch.weight[:, : self.groups] > 0).nonzero(as_tuple=True)
        y, s, unit = batch.values[cells], sigma[cells][:, :1], noise[cells]
        drawn = denoise(lambda x, level: self.slope(x, level, z[cells]).float(), y + s * unit, s)
        error = ((s**2 + 1) / s**2 * (drawn - y) ** 2).sum(dim=1)
        return Loss(categorical, (error * batch.weight[cells]).sum() / len(z))


def one_count(known: Tensor, reveal: str, rng: torch.Generator) -> Tensor:
    """Times (B, T), 0 visible, 1 masked: as many rows as a batch has share one count."""
    del reveal  # always the paper's
    rows, columns = known.shape
    order = torch.rand(rows, columns, generator=rng).argsort(dim=1).argsort(dim=1)
    k = torch.randint(columns, (-(-rows // BATCH), 1), generator=rng).repeat_interleave(BATCH, 0)[:rows]
    return (order >= k).long()


class Published:
    """A fitted model of one table without missing numbers."""

    def __init__(self, table: pa.Table, switches: Switches) -> None:
        self.schema = infer_schema(table, "table")
        self.kinds = {c.name: arrow_type(c.arrow_type) for c in self.schema.columns}
        self.codec = TableCodec.fit(table, self.schema, PAPER.numbers)
        pairs = list(zip(self.codec.columns, self.schema.modelled, strict=True))
        numbers = [(codec, c.name) for codec, c in pairs if isinstance(codec, NumberCodec)]
        self.categories = [(codec, c.name) for codec, c in pairs if not isinstance(codec, NumberCodec)]
        self.names = [name for _, name in numbers]
        self.numbers: Numbers = (
            Transformed(table, self.names)
            if switches.quantile_transformer
            else Randomised([codec for codec, _ in numbers], table, self.names)
        )
        self.switches, self.groups = switches, 1 if switches.joint else len(self.names)
        self.size = len(self.names) // self.groups
        levels = [codec.levels for codec, _ in self.categories]
        self.network = Network(levels, self.groups, self.size, JOINT if switches.joint else SIZES)

    def fit(
        self, table: pa.Table, *, seconds: float, seed: int, precision: torch.dtype, started: float
    ) -> None:
        """Train until the budget is spent; the weights are the best ones."""
        config = TrainConfig(batch=BATCH, reveal="paper", noise_levels=self.size)
        rows, learner = self._rows(table), training.learner(self.network, config, seed, Workers())
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(rows)))
        held = min(len(rows) // 20, HELD)
        counts = patch.object(batches, "reveal_times", one_count)
        with counts if self.switches.count_a_batch else nullcontext():
            for _ in training.train(
                learner,
                rows.take(order[held:]),
                rows.take(order[:held]),
                config,
                training.Budget(seconds, None),
                precision=precision,
                started=started,
            ):
                pass
        self.network.load_state_dict(learner.best)

    def _rows(self, table: pa.Table) -> Rows:
        codes = [codec.encode(table[name].combine_chunks()) for codec, name in self.categories]
        blank = [np.zeros(len(table), np.int64)] * self.groups
        coded = np.stack([*blank, *codes], axis=1).astype(np.int32)
        values = self.numbers.scores(table).reshape(-1, self.groups, self.size).astype(np.float32)
        arrays = np.maximum(coded, 0), values, coded >= 0
        return Rows(*map(torch.from_numpy, arrays))

    @torch.no_grad()
    def sample(self, rows: int, rng: torch.Generator) -> pa.Table:
        """Rows in the order of the table's columns; each block of them has an order of its own."""
        self.network.eval()
        blocks = [self._block(min(BLOCK, rows - first), rng) for first in range(0, rows, BLOCK)]
        codes, values = (torch.cat(part).numpy() for part in zip(*blocks, strict=True))
        scores = values.reshape(rows, -1)
        drawn = {name: self.numbers.column(scores, i) for i, name in enumerate(self.names)}
        for k, (codec, name) in enumerate(self.categories):
            drawn[name] = decode_column(codec, codes[:, k], np.zeros(rows), self.kinds[name])
        return pa.table({name: drawn[name] for name in self.schema.names})

    def _block(self, rows: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        codes = torch.zeros(rows, len(self.categories), dtype=torch.long)
        values = torch.zeros(rows, self.groups, self.size)
        visible = torch.zeros(rows, self.groups + len(self.categories), dtype=torch.bool)
        for token in torch.randperm(visible.shape[1], generator=rng).tolist():
            z = self.network.conditions(codes, values, visible)[:, token]
            if token < self.groups:
                noise = torch.randn(rows, self.size, generator=rng)
                values[:, token] = heun(
                    lambda x, theta, z=z: self._slope(x, theta, z), noise, angles(STEPS[self.switches.joint])
                )
            else:
                codes[:, token - self.groups] = self._draw(z, token - self.groups, rng)
            visible[:, token] = True
        return codes, values

    def _slope(self, x: Tensor, theta: float, z: Tensor) -> Tensor:
        level = torch.full((len(x), 1), float(np.log(np.tan(theta)) / 4))
        return self.network.slope(x, level, z)

    def _draw(self, z: Tensor, category: int, rng: torch.Generator) -> Tensor:
        first, last = self.network.heads.offsets[category : category + 2]
        logits = self.network.heads.logits(z, torch.arange(first, last))
        return torch.multinomial(logits.softmax(dim=-1), 1, generator=rng)[:, 0]


def fit(
    table: pa.Table, switches: Switches, *, seconds: float, seed: int, precision: torch.dtype
) -> Published:
    """A model of the table, everything within the budget."""
    started = time.perf_counter()
    torch.manual_seed(seed)
    model = Published(table, switches)
    model.fit(table, seconds=seconds, seed=seed, precision=precision, started=started)
    return model
