"""One step of the any-order loop as a pure function: what is exported, and what torch runs.

B rows, N columns revealed now, T revealed before, L blocks, E width, K codes of the target.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tabdar_pipeline.model.diffusion import denoise
from tabdar_pipeline.model.tabdar import TabDAR
from tabdar_pipeline.sampling.heun import heun
from tabdar_pipeline.sampling.schedule import noise_levels


class Answer(NamedTuple):
    """The target's condition and logits, and the memory with the new columns in it."""

    z: Tensor  # (B, E)
    logits: Tensor  # (B, K)
    memory: Tensor  # (L, B, T + N, 2 E)


class BackboneStep(nn.Module):
    """Reveal columns, remember their keys and values, and query one target column."""

    register_memory: Tensor

    def __init__(self, model: TabDAR) -> None:
        super().__init__()
        self.embedding, self.heads = model.embedding, model.heads
        self.backbone = model.backbone
        self.register_buffer("register_memory", self._register(), persistent=False)

    @torch.no_grad()
    def _register(self) -> Tensor:
        """Keys and values of the register, which sees only itself: (L, 1, 1, 2 E)."""
        x, hidden, kept = self.backbone.register, torch.zeros(1), []
        for block in self.backbone.encoder:
            kept.append(block.attention.remember(block.norm(x)))
            x = block(x, kept[-1], hidden.to(x.device))
        states = self.backbone.norm_memory(x)
        kept += [block.attention.remember(states) for block in self.backbone.decoder]
        return torch.stack(kept)

    def forward(
        self, columns: Tensor, codes: Tensor, values: Tensor, memory: Tensor,
        hidden: Tensor, target: Tensor, levels: Tensor,
    ) -> Answer:
        """columns (N,), codes and values (B, N), hidden (N, 1 + T + N), target (1,), levels (K,)."""
        x = self.embedding(columns, codes, values)
        query = self.backbone.query[target].expand(len(codes), -1, -1)
        kept = []
        for i, block in enumerate(self.backbone.encoder):
            kept.append(torch.cat([memory[i], block.attention.remember(block.norm(x))], dim=1))
            x = block(x, self._with_register(i, kept[i]), hidden)
        states = self.backbone.norm_memory(x)
        for i, block in enumerate(self.backbone.decoder, start=len(kept)):
            kept.append(torch.cat([memory[i], block.attention.remember(states)], dim=1))
            query = block(query, self._with_register(i, kept[i]), hidden[:1, :1] * 0)
        z = self.backbone.norm_out(query)[:, 0]
        return Answer(z, self.heads.logits(z, levels), torch.stack(kept))

    def _with_register(self, i: int, memory: Tensor) -> Tensor:
        return torch.cat([self.register_memory[i].expand(len(memory), -1, -1), memory], dim=1)


class DenoiserSolver(nn.Module):
    """The whole nested diffusion of some cells: all solver steps in one graph."""

    def __init__(self, model: TabDAR, steps: int) -> None:
        super().__init__()
        self.denoiser = model.denoiser
        self.sigmas = [float(sigma) for sigma in noise_levels(steps)]

    def forward(self, z: Tensor, flat: Tensor, noise: Tensor) -> Tensor:
        """Conditions (M, E), flat codes (M,), unit noise (M,) -> residuals (M,)."""
        condition = self.denoiser.condition(z, flat)

        def at(x: Tensor, sigma: float) -> Tensor:
            level = torch.full_like(x, sigma)
            return denoise(lambda a, c: self.denoiser(a, c, condition), x, level)

        return heun(at, noise[:, None], self.sigmas)[:, 0]
