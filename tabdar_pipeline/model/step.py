"""One step of the any-order loop as a pure function: what is exported, and what torch runs.

What was revealed before is kept as keys and values, in arrays that are never copied: the caller
writes the new ones into their places. B rows, N columns revealed now, T places for those revealed
before, L blocks, H heads, E width, K codes of the target.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tabdar_pipeline.model.backbone import Attention
from tabdar_pipeline.model.tabdar import TabDAR
from tabdar_pipeline.sampling.heun import heun
from tabdar_pipeline.sampling.schedule import angles


class Past(NamedTuple):
    """What one block remembers of the rows: places that a row does not show are hidden."""

    keys: Tensor  # (B, H, T, E / H)
    values: Tensor  # (B, H, T, E / H)
    hidden: Tensor  # (B, 1, 1, T) 0 or a large negative number


class Answer(NamedTuple):
    """The target's condition and logits, and the keys and values of the columns revealed now."""

    z: Tensor  # (B, E)
    logits: Tensor  # (B, K)
    fresh: Tensor  # (2 L, B, H, N, E / H) keys and values of block 0, of block 1, ...


class BackboneStep(nn.Module):
    """Reveal columns, and query one target column."""

    register_memory: Tensor

    def __init__(self, model: TabDAR) -> None:
        super().__init__()
        self.embedding, self.heads = model.embedding, model.heads
        self.backbone = model.backbone
        self.register_buffer("register_memory", self._register(), persistent=False)

    @torch.no_grad()
    def _register(self) -> Tensor:
        """Keys and values of the register, which sees only itself: (L, 1, 1, 2 E)."""
        x, kept = self.backbone.register, []
        for block in self.backbone.encoder:
            kept.append(block.attention.remember(block.norm(x)))
            x = block(x, kept[-1], torch.zeros(1, device=x.device))
        states = self.backbone.norm_memory(x)
        kept += [block.attention.remember(states) for block in self.backbone.decoder]
        return torch.stack(kept)

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
        x = self.embedding(columns, codes, values)
        query = self.backbone.query[target].expand(codes.shape[0], -1, -1)
        fresh = []
        for i, block in enumerate(self.backbone.encoder):
            normed = block.norm(x)
            fresh.append(block.attention.remember(normed))
            x = x + self._attend(i, block.attention, normed, memory[i], fresh[i], hidden + later)
            x = x + block.mlp(x)
        states = self.backbone.norm_memory(x)
        for i, block in enumerate(self.backbone.decoder, start=len(fresh)):
            fresh.append(block.attention.remember(states))
            query = query + self._attend(i, block.attention, block.norm(query), memory[i], fresh[i], hidden)
            query = query + block.mlp(query)
        z = self.backbone.norm_out(query)[:, 0]
        blocks = [*self.backbone.encoder, *self.backbone.decoder]
        split = [
            block.attention.split(part)
            for block, kept in zip(blocks, fresh, strict=True)
            for part in kept.chunk(2, -1)
        ]
        return Answer(z, self.heads.logits(z, levels), torch.stack(split))

    def _attend(
        self, i: int, attention: Attention, x: Tensor, past: Past, fresh: Tensor, hidden: Tensor
    ) -> Tensor:
        """X (B, N', E) looks at the register, at the past, and at the columns revealed now."""
        query = attention.split(attention.query(x))
        query = query * query.shape[-1] ** -0.5
        first, own = (
            [attention.split(part) for part in it.chunk(2, -1)] for it in (self.register_memory[i], fresh)
        )
        scores = [
            (query * first[0]).sum(-1, keepdim=True),
            query @ past.keys.transpose(-1, -2) + past.hidden,
            query @ own[0].transpose(-1, -2) + hidden,
        ]
        weight = torch.softmax(torch.cat(scores, dim=-1), dim=-1)
        t = past.keys.shape[2]
        mixed = weight[..., :1] * first[1] + weight[..., 1 : 1 + t] @ past.values
        mixed = mixed + weight[..., 1 + t :] @ own[1]
        return attention.out(mixed.transpose(1, 2).flatten(-2))


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
