"""One step of the any-order loop as a pure function: what is exported, and what torch runs.

What was revealed before is kept as keys and values, in arrays that are never copied: the caller
writes the new ones into their places. B rows, N columns revealed now, T places for those revealed
before, L blocks, H heads, E width, K codes of the target.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from tabdar_pipeline.model.backbone import Attention
from tabdar_pipeline.model.tabdar import TabDAR
from tabdar_pipeline.sampling.heun import heun
from tabdar_pipeline.sampling.schedule import angles

MOST = 80.0  # of a score above the register's; its exponential is still a float


class Past(NamedTuple):
    """What one block remembers of the rows: places that a row does not show are hidden."""

    keys: Tensor  # (B, H, T, D)
    values: Tensor  # (B, H, T, D)
    hidden: Tensor  # (B, 1, 1, T) 0 or a large negative number


class Fresh(NamedTuple):
    """Keys and values of the columns revealed now."""

    keys: Tensor  # (B, H, N, D)
    values: Tensor  # (B, H, N, D)


class Answer(NamedTuple):
    """The target's condition and logits, and the keys and values of the columns revealed now."""

    z: Tensor  # (B, E)
    logits: Tensor  # (B, K)
    fresh: Tensor  # (2 L, B, H, N, D) keys and values of block 0, of block 1, ...


class Recall(nn.Module):
    """A trained attention for rows that grow: it looks at the register, at the past, and at what is fresh.

    The same function as `Attention`, in fewer and cheaper operations: one product for queries, keys and
    values; scores count from the register's, which every row sees, so that no maximum is sought.
    """

    key: Tensor
    value: Tensor
    __call__: Callable[..., Tensor]

    def __init__(self, attention: Attention, register: Tensor) -> None:
        """Register (1, 1, 2 E): its keys and values."""
        super().__init__()
        self.heads, width = attention.heads, attention.query.in_features
        self.project = nn.Linear(width, 3 * width, device=register.device)
        self.out = attention.out
        scale = (width // self.heads) ** -0.5
        with torch.no_grad():
            self.project.weight.copy_(torch.cat([scale * attention.query.weight, attention.memory.weight]))
            self.project.bias.copy_(torch.cat([scale * attention.query.bias, attention.memory.bias]))
        key, value = (attention.split(part) for part in register.chunk(2, -1))
        self.register_buffer("key", key, persistent=False)  # (1, H, 1, D)
        self.register_buffer("value", value, persistent=False)

    def tokens(self, x: Tensor) -> tuple[Tensor, Fresh]:
        """Queries, keys and values of tokens (B, N, E)."""
        query, key, value = self._heads(x, self.project.weight, self.project.bias)
        return query, Fresh(key, value)

    def query(self, x: Tensor) -> Tensor:
        """The queries of (B, 1, E)."""
        width = x.shape[-1]
        return self._heads(x, self.project.weight[:width], self.project.bias[:width])[0]

    def memory(self, x: Tensor) -> Fresh:
        """The keys and values of states (B, N, E)."""
        width = x.shape[-1]
        return Fresh(*self._heads(x, self.project.weight[width:], self.project.bias[width:]))

    def _heads(self, x: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
        """Linear maps of (B, N, E), each as (B, H, N, D)."""
        flat = nn.functional.linear(x.flatten(0, 1), weight, bias)
        width = x.shape[-1]
        apart = flat.view(x.shape[0], x.shape[1], len(bias) // width, self.heads, width // self.heads)
        return [part.transpose(1, 2) for part in apart.unbind(2)]

    def forward(self, query: Tensor, past: Past, fresh: Fresh, hidden: Tensor) -> Tensor:
        """Queries (B, H, M, D); hidden is added to the scores of fresh (B, 1, M, N) -> (B, M, E)."""
        register = (query * self.key).sum(-1, keepdim=True)
        before = query @ past.keys.transpose(-1, -2) + past.hidden
        now = (query[:, :, :, None] * fresh.keys[:, :, None]).sum(-1) + hidden
        before, now = (torch.exp((score - register).clamp(max=MOST)) for score in (before, now))
        mixed = self.value + before @ past.values + (now[..., None] * fresh.values[:, :, None]).sum(-2)
        mixed = mixed / (1 + before.sum(-1, keepdim=True) + now.sum(-1, keepdim=True))
        return folded(self.out, mixed.transpose(1, 2).flatten(-2))


class BackboneStep(nn.Module):
    """Reveal columns, and query one target column."""

    def __init__(self, model: TabDAR) -> None:
        super().__init__()
        self.embedding, self.heads, self.backbone = model.embedding, model.heads, model.backbone
        blocks = [*model.backbone.encoder, *model.backbone.decoder]
        registers = self._registers()
        self.recalls = nn.ModuleList(
            Recall(block.attention, register) for block, register in zip(blocks, registers, strict=True)
        )

    @torch.no_grad()
    def _registers(self) -> list[Tensor]:
        """For each block the keys and values (1, 1, 2 E) of the register, which sees only itself."""
        x, kept = self.backbone.register, []
        for block in self.backbone.encoder:
            kept.append(block.attention.remember(block.norm(x)))
            x = block(x, kept[-1], torch.zeros(1, device=x.device))
        states = self.backbone.norm_memory(x)
        return kept + [block.attention.remember(states) for block in self.backbone.decoder]

    def forward(
        self,
        columns: Tensor,
        codes: Tensor,
        values: Tensor,
        later: Tensor,
        hidden: Tensor,
        target: Tensor,
        levels: Tensor,
        past_hidden: Tensor,
        past: list[Tensor],
    ) -> Answer:
        """Columns (N,), codes, values and hidden (B, N), later (N, N), target (1,), levels (K,).

        A token must not see the columns later than itself; none must see what its row hides.
        """
        gone, hidden = past_hidden[:, None, None], hidden[:, None, None]
        memory = [Past(past[i], past[i + 1], gone) for i in range(0, len(past), 2)]
        recalls, layers = cast("list[Recall]", list(self.recalls)), len(self.backbone.encoder)
        x = self.embedding(columns, codes, values)
        query = self.backbone.query[target].expand(codes.shape[0], -1, -1)
        kept: list[Tensor] = []
        for block, recall, before in zip(self.backbone.encoder, recalls[:layers], memory, strict=False):
            asked, fresh = recall.tokens(block.norm(x))
            x = x + recall(asked, before, fresh, hidden + later)
            x = x + folded(block.mlp, x)
            kept += fresh
        states = self.backbone.norm_memory(x)
        for block, recall, before in zip(
            self.backbone.decoder, recalls[layers:], memory[layers:], strict=True
        ):
            fresh = recall.memory(states)
            query = query + recall(recall.query(block.norm(query)), before, fresh, hidden)
            query = query + folded(block.mlp, query)
            kept += fresh
        z = self.backbone.norm_out(query)[:, 0]
        return Answer(z, self.heads.logits(z, levels), torch.stack(kept))


def folded(module: nn.Module, x: Tensor) -> Tensor:
    """A module of rows on (B, N, E) as one matrix: a product and its bias are then one operation."""
    y: Tensor = module(x.flatten(0, 1))
    return y.view(x.shape[0], x.shape[1], y.shape[-1])


class DenoiserSolver(nn.Module):
    """The whole nested diffusion of some cells: all solver steps in one graph."""

    def __init__(self, model: TabDAR, steps: int) -> None:
        super().__init__()
        self.denoiser = model.denoiser
        self.thetas = angles(steps)

    def forward(self, z: Tensor, flat: Tensor, noise: Tensor) -> Tensor:
        """Conditions (M, E), flat codes (M,), unit noise (M,) -> residuals (M,)."""
        condition = self.denoiser.condition(z, flat)

        def network(x: Tensor, theta: float) -> Tensor:
            c_noise = math.log(math.tan(theta)) / 4
            return self.denoiser(x, torch.full((1, 1), c_noise, device=x.device), condition)

        solved: Tensor = heun(network, noise[:, None], self.thetas)[:, 0]
        return solved
