"""Categorical heads of all columns, stacked by size so that no loop runs over columns.

B rows, C columns, G columns of one bucket, K codes of the widest of them, E width.
"""

import math
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tabdar_pipeline.model.config import ModelConfig
from tabdar_pipeline.model.spec import CodeTable

SAMPLED = 4096  # codes of a column against which its loss is estimated where it has more


class CategoricalHeads(nn.Module):
    """Logits of a column's codes from its condition z; one row of weights per code."""

    def __init__(self, table: CodeTable, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Embedding(len(table.low), config.width)
        self.bias = nn.Parameter(torch.zeros(len(table.low)))
        nn.init.normal_(self.weight.weight, std=config.width**-0.5)
        self.offsets = table.offsets
        self.buckets = nn.ModuleList(Bucket(columns, table.offsets) for columns in buckets(table))

    def begin_with(self, odds: Tensor) -> None:
        """Start from how often codes (K,) occur: of many levels, that alone takes long to learn."""
        self.bias.data.copy_(torch.log(odds))

    def logits(self, z: Tensor, flat: Tensor) -> Tensor:
        """Conditions (B, E) and the flat codes (K,) of their column -> (B, K)."""
        return F.linear(z, self.weight(flat), self.bias[flat])

    def forward(self, z: Tensor, codes: Tensor) -> Tensor:
        """Conditions (B, C, E), true codes (B, C) -> cross-entropy (B, C)."""
        loss = torch.zeros(codes.shape, device=z.device)
        for bucket in self.buckets:
            loss[:, bucket.get_buffer("columns")] = bucket(z, codes, self.weight, self.bias)
        return loss


class Bucket(nn.Module):
    """Columns whose vocabularies are of like size."""

    columns: Tensor
    flat: Tensor
    padding: Tensor

    def __init__(self, columns: list[int], offsets: np.ndarray) -> None:
        super().__init__()
        sizes = [int(offsets[c + 1] - offsets[c]) for c in columns]
        k = np.arange(max(sizes))[None, :]
        beyond = k >= np.array(sizes)[:, None]
        flat = np.where(beyond, 0, k) + offsets[columns][:, None]
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.register_buffer("flat", torch.from_numpy(flat), persistent=False)
        self.register_buffer(
            "padding", torch.from_numpy(np.where(beyond, -1e9, 0.0)).float()[:, None], persistent=False
        )

    def forward(self, z: Tensor, codes: Tensor, weight: nn.Embedding, bias: Tensor) -> Tensor:
        """Cross-entropy (B, G) of this bucket's columns; of very many codes, in training, estimated from some."""
        stride = math.ceil(self.flat.shape[1] / SAMPLED) if self.training else 1
        if stride > 1:
            return self._sampled(z, codes, weight, bias, stride)
        w = weight(self.flat)  # (G, K, E)
        b = bias[self.flat][:, None] + self.padding  # (G, 1, K)
        logits = torch.baddbmm(b.to(w.dtype), z[:, self.columns].transpose(0, 1), w.transpose(1, 2))
        truth = codes[:, self.columns].T.reshape(-1)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), truth, reduction="none")
        return loss.view(len(self.columns), -1).T

    def _sampled(self, z: Tensor, codes: Tensor, weight: nn.Embedding, bias: Tensor, stride: int) -> Tensor:
        """Cross-entropy (B, G) beside every `stride`-th code, which stands for those as frequent: unbiased in the sum.

        Which ones is a function of the batch; in time, all.
        """
        truth = codes[:, self.columns].T  # (G, B)
        k = torch.arange(int(truth.sum()) % stride, self.flat.shape[1], stride, device=z.device)
        flat, own = self.flat[:, k], self.flat.gather(1, truth)
        b = bias[flat][:, None] + self.padding[:, :, k] + math.log(stride)
        w, seen = weight(flat), z[:, self.columns].transpose(0, 1)
        others = torch.baddbmm(b.to(w.dtype), seen, w.transpose(1, 2)).float()
        others = others.masked_fill(truth[:, :, None] == k, -1e9)
        mine = (seen * weight(own)).sum(-1).float() + bias[own]
        return (torch.logaddexp(others.logsumexp(-1), mine) - mine).T


def buckets(table: CodeTable) -> list[list[int]]:
    """Columns grouped by the power of two above their size; a single code needs no head."""
    sizes = np.diff(table.offsets)
    power = np.ceil(np.log2(np.maximum(sizes, 2))).astype(int)
    order = [int(c) for c in np.argsort(power, kind="stable") if sizes[c] > 1]
    return [list(group) for _, group in groupby(order, key=lambda c: int(power[c]))]
