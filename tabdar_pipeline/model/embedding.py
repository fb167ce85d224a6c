"""One token per column.

B rows, C columns, K codes of all columns together, F rank features, E width.
"""

import math

import torch
from torch import Tensor, nn

from tabdar_pipeline.model.config import ModelConfig
from tabdar_pipeline.model.spec import CodeTable

EDGE = 1e-4  # keeps the logit of a rank finite
OWN = 0.1  # of the usual spread, where what an ordered code has of its own begins: its place tells more


def rank_features(rank: Tensor, frequencies: int) -> Tensor:
    """A rank u in [0, 1] at every scale: (...) -> (..., F), F = 2 + 2 * frequencies."""
    octaves = 2.0 ** torch.arange(frequencies, device=rank.device, dtype=rank.dtype)
    angle = math.pi * rank[..., None] * octaves
    logit = torch.log((rank + EDGE) / (1 - rank + EDGE))
    line = torch.stack([2 * rank - 1, logit / 2], dim=-1)
    return torch.cat([line, torch.sin(angle), torch.cos(angle)], dim=-1)


def lookup(table: Tensor, which: Tensor) -> Tensor:
    """Rows of a table (N, ...) by numbers of any shape (...): its gradient needs no sorting, as that of indexing does."""
    return table.index_select(0, which.flatten()).unflatten(0, which.shape)


class ColumnEmbedding(nn.Module):
    """The token of a cell: its column, its code, and where it lies on the line of ranks."""

    offsets: Tensor
    low: Tensor
    high: Tensor
    ordered: Tensor

    def __init__(self, table: CodeTable, config: ModelConfig) -> None:
        super().__init__()
        columns, codes = len(table.offsets) - 1, len(table.low)
        self.frequencies = config.frequencies
        features = 2 + 2 * config.frequencies
        self.code = nn.Embedding(codes, config.width)
        self.column = nn.Parameter(torch.randn(columns, config.width) * 0.02)
        self.position = nn.Parameter(torch.randn(columns, features, config.width) * features**-0.5)
        nn.init.normal_(self.code.weight, std=0.5)
        self.register_buffer("offsets", torch.from_numpy(table.offsets[:-1].copy()), persistent=False)
        self.register_buffer("low", torch.from_numpy(table.low), persistent=False)
        self.register_buffer("high", torch.from_numpy(table.high), persistent=False)
        self.register_buffer("ordered", torch.from_numpy(table.ordered).float(), persistent=False)
        self.code.weight.data[torch.from_numpy(table.ordered)] *= OWN

    def forward(self, columns: Tensor, codes: Tensor, values: Tensor) -> Tensor:
        """Columns (C,), codes (B, C), residuals (B, C) -> tokens (B, C, E)."""
        flat = codes + self.offsets[columns]
        within = 0.5 * (1 + torch.erf(values * math.sqrt(0.5)))  # the residual is standard normal
        rank = self.low[flat] + (self.high[flat] - self.low[flat]) * within
        features = rank_features(rank, self.frequencies) * self.ordered[flat][..., None]
        place = torch.einsum("bcf,cfe->bce", features, lookup(self.position, columns))
        return place + (lookup(self.code.weight, flat) + lookup(self.column, columns)).to(place.dtype)
