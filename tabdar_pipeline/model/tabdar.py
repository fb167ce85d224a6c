"""TabDAR: embedding, masked backbone, categorical heads and the nested diffusion.

Zhang, Fang, Wu, Yu: Diffusion-nested Auto-Regressive Synthesis of Heterogeneous Tabular Data,
arXiv 2410.21523. B rows, C columns, E width, S noise levels, M cells with a residual.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tabdar_pipeline.model.backbone import Backbone, conceal
from tabdar_pipeline.model.config import ModelConfig
from tabdar_pipeline.model.denoiser import Denoiser
from tabdar_pipeline.model.diffusion import denoising_loss
from tabdar_pipeline.model.embedding import ColumnEmbedding
from tabdar_pipeline.model.heads import CategoricalHeads
from tabdar_pipeline.model.spec import CodeTable, ColumnSpec


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to learn from, and the time at which each of their cells is revealed."""

    codes: Tensor  # (B, C)
    values: Tensor  # (B, C) residuals
    weight: Tensor  # (B, C) of each cell as a target; 0 where it is unknown
    times: Tensor  # (B, C) a cell is predicted from all that were revealed before it


@dataclass(frozen=True, slots=True)
class Loss:
    """The two parts of the order-agnostic likelihood, per row."""

    categorical: Tensor
    denoising: Tensor

    @property
    def total(self) -> Tensor:
        """What training descends."""
        return self.categorical + self.denoising


class TabDAR(nn.Module):
    """p(column | any visible columns) for every column of one table."""

    offsets: Tensor  # (C,)
    continuous: Tensor  # (K,)
    numeric: Tensor  # columns of which some code is continuous

    def __init__(self, columns: Sequence[ColumnSpec], config: ModelConfig) -> None:
        super().__init__()
        self.table = CodeTable.of(columns)
        self.config = config
        self.embedding = ColumnEmbedding(self.table, config)
        self.backbone = Backbone(len(columns), config)
        self.heads = CategoricalHeads(self.table, config)
        self.denoiser = Denoiser(config, len(self.table.low))
        self.register_buffer("offsets", torch.from_numpy(self.table.offsets[:-1].copy()), persistent=False)
        self.register_buffer("continuous", torch.from_numpy(self.table.continuous), persistent=False)
        numeric = [c for c, column in enumerate(columns) if any(column.continuous)]
        self.register_buffer("numeric", torch.tensor(numeric, dtype=torch.long), persistent=False)

    def conditions(self, batch: Batch, keep: Tensor | None = None) -> Tensor:
        """Z (B, C, E): each column given the columns revealed before it (paper, eq. 3); keep (B, C, E) is dropout's."""
        columns = torch.arange(batch.codes.shape[1], device=batch.codes.device)
        tokens = self.embedding(columns, batch.codes, batch.values)
        tokens = tokens if keep is None else tokens * keep.to(tokens.dtype)
        start = torch.nn.functional.pad(batch.times, (1, 0), value=-1)  # the register comes first
        states = self.backbone.encode(tokens, conceal(batch.times, start, strict=False))
        return self.backbone.decode(states, columns, conceal(batch.times, batch.times, strict=True))

    def loss(self, batch: Batch, sigma: Tensor, noise: Tensor, keep: Tensor | None = None) -> Loss:
        """Cross-entropy of codes and denoising loss of residuals (paper, eq. 8), mean over rows.

        sigma, noise: (B, C, S); keep (B, C, E), where tokens are dropped out.
        """
        z = self.conditions(batch, keep)
        categorical = (self.heads(z, batch.codes) * batch.weight).sum() / len(z)
        flat = batch.codes + self.offsets
        weight = (batch.weight * self.continuous[flat]).flatten()
        cells = self._cells(weight)
        z_cells, codes, y, level, unit = (
            whole.flatten(0, 1).index_select(0, cells) for whole in (z, flat, batch.values, sigma, noise)
        )
        condition = self.denoiser.condition(z_cells, codes)
        error = denoising_loss(
            lambda x, c_noise: self.denoiser(x, c_noise, condition).float(), y[:, None], level, unit
        )  # (M, S)
        denoising = (error.mean(dim=1) * weight[cells]).sum() / len(z)
        return Loss(categorical, denoising)

    def _cells(self, weight: Tensor) -> Tensor:
        """Where in (B C,) the cells are whose residuals are targets (M,).

        On a GPU all that could be, whatever they weigh: a CUDA graph has one shape.
        """
        if not weight.is_cuda:
            return weight.nonzero()[:, 0]
        columns = len(self.offsets)
        rows = torch.arange(0, len(weight), columns, device=weight.device)
        return (rows[:, None] + self.numeric).flatten()
