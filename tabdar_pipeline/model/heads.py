"""Categorical heads of all columns, stacked by size so that no loop runs over columns.

B rows, C columns, G columns of one bucket, K codes of the widest of them, F rank features, E width.
"""

import math
from itertools import chain, groupby

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tabdar_pipeline.model.config import ModelConfig
from tabdar_pipeline.model.embedding import OWN, lookup, rank_features
from tabdar_pipeline.model.spec import CodeTable

OCTAVES = 4  # of the rank features by which neighbours share weights
SAMPLED = 4096  # codes of a column against which its loss is estimated where it has more


class CategoricalHeads(nn.Module):
    """Logits of a column's codes from its condition z; one row of weights per code.

    In training an ordered code has, beside its own weights, those that its place on the line of ranks gives, so that what
    one row teaches of a bin its neighbours learn, too. `settle` adds them up.
    """

    shared: nn.Parameter | None
    place: Tensor

    def __init__(self, table: CodeTable, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Embedding(len(table.low), config.width)
        self.bias = nn.Parameter(torch.zeros(len(table.low)))
        nn.init.normal_(self.weight.weight, std=config.width**-0.5)
        self.register_parameter("shared", None)
        self.offsets = table.offsets
        together = buckets(table)
        self.buckets = nn.ModuleList(Bucket(columns, table) for columns in together)
        where = {c: k for k, c in enumerate(chain.from_iterable(together))}
        place = [where.get(c, len(where)) for c in range(len(table.offsets) - 1)]  # a single code's loss is 0
        self.register_buffer("place", torch.tensor(place), persistent=False)

    def begin_with(self, odds: Tensor) -> None:
        """Start from how often codes (K,) occur: of many levels, that alone takes long to learn."""
        self.bias.data.copy_(torch.log(odds))

    def share(self, fresh: bool) -> None:
        """Train with shared weights (C, F, E): random in the place of own ones where nothing was learned yet."""
        columns, features, width = len(self.offsets) - 1, 2 + 2 * OCTAVES, self.weight.embedding_dim
        self.shared = nn.Parameter(self.weight.weight.new_zeros(columns, features, width))
        if fresh:
            nn.init.normal_(self.shared, std=(features * width) ** -0.5)
            for bucket in self.buckets:
                codes, ordered = bucket.get_buffer("flat"), bucket.get_buffer("places").any(-1)
                self.weight.weight.data[codes[ordered]] *= OWN

    @torch.no_grad()
    def settle(self) -> None:
        """Give each code its share, for good: the logits stay as they are."""
        if self.shared is not None:
            for bucket in self.buckets:
                codes, among = bucket.get_buffer("flat"), bucket.get_buffer("padding")[:, 0] == 0
                added = bucket.get_buffer("places") @ self.shared[bucket.get_buffer("columns")]
                self.weight.weight[codes[among]] += added[among]
            self.shared = None

    def logits(self, z: Tensor, flat: Tensor) -> Tensor:
        """Conditions (B, E) and the flat codes (K,) of their column -> (B, K). Weights must be settled."""
        return F.linear(z, self.weight(flat), self.bias[flat])

    def forward(self, z: Tensor, codes: Tensor) -> Tensor:
        """Conditions (B, C, E), true codes (B, C) -> cross-entropy (B, C)."""
        losses = [bucket(z, codes, self.weight, self.bias, self.shared) for bucket in self.buckets]
        return torch.cat([*losses, torch.zeros(len(z), 1, device=z.device)], dim=1).index_select(
            1, self.place
        )


class Bucket(nn.Module):
    """Columns whose vocabularies are of like size."""

    columns: Tensor
    flat: Tensor
    padding: Tensor
    places: Tensor

    def __init__(self, columns: list[int], table: CodeTable) -> None:
        super().__init__()
        offsets = table.offsets
        sizes = [int(offsets[c + 1] - offsets[c]) for c in columns]
        k = np.arange(max(sizes))[None, :]
        beyond = k >= np.array(sizes)[:, None]
        flat = np.where(beyond, 0, k) + offsets[columns][:, None]
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.register_buffer("flat", torch.from_numpy(flat), persistent=False)
        self.register_buffer(
            "padding", torch.from_numpy(np.where(beyond, -1e9, 0.0)).float()[:, None], persistent=False
        )

        middle = torch.from_numpy((table.low + table.high) / 2)[flat]
        ordered = torch.from_numpy(table.ordered)[flat]
        places = rank_features(middle, OCTAVES) * ordered[..., None]  # (G, K, F), 0 where codes have no order
        self.register_buffer("places", places, persistent=False)

    def forward(
        self, z: Tensor, codes: Tensor, weight: nn.Embedding, bias: Tensor, shared: Tensor | None
    ) -> Tensor:
        """Cross-entropy (B, G) of this bucket's columns; of very many codes, in training, estimated from some."""
        stride = math.ceil(self.flat.shape[1] / SAMPLED) if self.training else 1
        if stride > 1:
            return self._sampled(z, codes, weight, bias, shared, stride)
        w = self._weights(weight, self.flat, self.places, shared)  # (G, K, E)
        b = lookup(bias, self.flat)[:, None] + self.padding  # (G, 1, K)
        seen = z.index_select(1, self.columns).transpose(0, 1)
        logits = torch.baddbmm(b.to(w.dtype), seen, w.transpose(1, 2))
        truth = codes[:, self.columns].T.reshape(-1)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), truth, reduction="none")
        return loss.view(len(self.columns), -1).T

    def _weights(self, weight: nn.Embedding, flat: Tensor, places: Tensor, shared: Tensor | None) -> Tensor:
        """Of codes (G, K) at these places (G, K, F), their own and what they share: (G, K, E)."""
        own = lookup(weight.weight, flat)
        return own if shared is None else own + places @ lookup(shared, self.columns)

    def _sampled(
        self, z: Tensor, codes: Tensor, weight: nn.Embedding, bias: Tensor, shared: Tensor | None, stride: int
    ) -> Tensor:
        """Cross-entropy (B, G) beside every `stride`-th code, which stands for those as frequent: unbiased in the sum.

        Which ones is a function of the batch; in time, all.
        """
        truth = codes[:, self.columns].T  # (G, B)
        k = truth.sum() % stride + torch.arange(0, self.flat.shape[1], stride, device=z.device)
        beyond, k = k >= self.flat.shape[1], k.clamp(max=self.flat.shape[1] - 1)
        flat, own = self.flat[:, k], self.flat.gather(1, truth)
        mine = self.places.gather(1, truth[..., None].expand(-1, -1, self.places.shape[-1]))
        b = bias[flat][:, None] + self.padding[:, :, k] + math.log(stride)
        w = self._weights(weight, flat, self.places[:, k], shared)
        of_truth = self._weights(weight, own, mine, shared)
        seen = z.index_select(1, self.columns).transpose(0, 1)
        others = torch.baddbmm(b.to(w.dtype), seen, w.transpose(1, 2)).float()
        others = others.masked_fill((truth[:, :, None] == k) | beyond, -1e9)
        right = (seen * of_truth).sum(-1).float() + bias[own]
        return (torch.logaddexp(others.logsumexp(-1), right) - right).T


def buckets(table: CodeTable) -> list[list[int]]:
    """Columns grouped by the power of two above their size; a single code needs no head."""
    sizes = np.diff(table.offsets)
    power = np.ceil(np.log2(np.maximum(sizes, 2))).astype(int)
    order = [int(c) for c in np.argsort(power, kind="stable") if sizes[c] > 1]
    return [list(group) for _, group in groupby(order, key=lambda c: int(power[c]))]
