"""What a step learns from: which rows, in which order their columns are revealed, with how much noise.

B rows, C columns, N rows in all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tabdar_pipeline.model.config import TrainConfig
from tabdar_pipeline.model.tabdar import Batch
from tabdar_pipeline.sampling.engine import Visibility


@dataclass(frozen=True, slots=True)
class Rows:
    """Encoded rows on the training device."""

    codes: Tensor  # (N, C) int16 or int32
    values: Tensor  # (N, C) residuals
    known: Tensor  # (N, C) bool

    def __len__(self) -> int:
        """N, the number of rows."""
        return len(self.codes)

    def take(self, rows: Tensor) -> "Rows":
        """These rows."""
        return Rows(self.codes[rows], self.values[rows], self.known[rows])


class Batches:
    """Which rows each step takes: a function of (seed, step), so that a resumed run goes on exactly.

    Each epoch is a permutation of all rows; its last short batch is left out.
    """

    def __init__(self, rows: int, size: int, seed: int, device: torch.device) -> None:
        self.rows, self.size, self.seed, self.device = rows, min(size, rows), seed, device
        self.epoch, self.order = -1, torch.empty(0)

    def __getitem__(self, step: int) -> Tensor:
        """The numbers of a step's rows (B,)."""
        epoch, place = divmod(step, self.rows // self.size)
        if epoch != self.epoch:
            rng = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self.epoch, self.order = epoch, torch.randperm(self.rows, generator=rng).to(self.device)
        return self.order[place * self.size : (place + 1) * self.size]


def batch(rows: Rows, config: TrainConfig, rng: torch.Generator) -> Batch:
    """A training batch: every known cell that is not given is a target, each count k weighs the same."""
    times = reveal_times(rows.known, config.reveal, rng)
    weight = rows.known.float()
    if config.reveal != "cached":
        given = (times == 0) & ((times == 0).sum(dim=1, keepdim=True) > 1)
        if config.reveal == "paper":
            given = times == 0
        weight = weight * ~given
        weight = weight * (weight.shape[1] / weight.sum(dim=1, keepdim=True).clamp(min=1))
    return Batch(rows.codes.long(), rows.values, weight, times)


def reveal_times(known: Tensor, reveal: Visibility, rng: torch.Generator) -> Tensor:
    """When each cell is revealed, (B, C): a random order a row, unknown cells never before known.

    cached: every column has its own time. paper: k visible columns at time 0, the rest at time 1,
    k uniform (paper, section 3.2). mixed: the first k at time 0 together, in half of the rows.
    """
    rows, columns = known.shape
    keys = torch.rand(rows, columns, generator=rng, device=known.device)
    order = (keys + 2.0 * ~known).argsort(dim=1).argsort(dim=1)
    if reveal == "cached":
        return order
    k = torch.randint(columns, (rows, 1), generator=rng, device=known.device)
    if reveal == "paper":
        return (order >= k).long()
    half = torch.rand(rows, 1, generator=rng, device=known.device) < 0.5
    return torch.where((order < k) & half, 0, order)


def noise(shape: tuple[int, ...], config: TrainConfig, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """log-normal noise levels and unit noise."""
    level, unit = (torch.randn(shape, generator=rng, device=rng.device) for _ in range(2))
    return torch.exp(config.noise_mean + config.noise_std * level), unit


def kept(shape: tuple[int, ...], config: TrainConfig, rng: torch.Generator) -> Tensor | None:
    """Dropout: 0 where a number of a token is hidden, else what keeps the mean; None where none is hidden."""
    if not config.dropout:
        return None
    shown = torch.rand(shape, generator=rng, device=rng.device) >= config.dropout
    return shown / (1 - config.dropout)
