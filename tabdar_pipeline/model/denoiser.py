"""The denoiser: one scalar, its noise level, and the condition of its cell.

M cells, S noise levels, E width of conditions, D width of the denoiser.
"""

import torch
from torch import Tensor, nn

from tabdar_pipeline.model.config import ModelConfig
from tabdar_pipeline.model.embedding import lookup


class DenoiserBlock(nn.Module):
    """An MLP around a residual; condition and noise level scale and shift its input (adaLN)."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(condition, 2 * width)
        self.noise = nn.Linear(width, 2 * width)
        last = nn.Linear(2 * width, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), last)

    def forward(self, x: Tensor, condition: Tensor, noise: Tensor) -> Tensor:
        """X (M, S, D), condition (M, 1, 2 D) already modulated, noise (M, S, D)."""
        scale, shift = (condition + self.noise(noise)).chunk(2, dim=-1)
        return x + self.mlp(self.norm(x) * (1 + scale) + shift)


class Denoiser(nn.Module):
    """F_theta of EDM (Karras et al. 2022, eq. 7) for one scalar given a condition."""

    def __init__(self, config: ModelConfig, codes: int) -> None:
        super().__init__()
        width = config.denoiser_width
        self.code = nn.Embedding(codes, config.width)
        self.lift = nn.Linear(1 + 2 * 4, width)
        self.noise = nn.Sequential(nn.Linear(1 + 2 * 4, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(DenoiserBlock(width, config.width) for _ in range(config.denoiser_blocks))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 1)
        nn.init.normal_(self.code.weight, std=0.5)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def condition(self, z: Tensor, flat: Tensor) -> list[Tensor]:
        """What the blocks need of z (M, E) and of the flat code (M,): computed once per cell."""
        cell = nn.functional.silu(z + lookup(self.code.weight, flat))
        return [block.get_submodule("modulate")(cell)[:, None] for block in self.blocks]

    def forward(self, x: Tensor, noise: Tensor, condition: list[Tensor]) -> Tensor:
        """Scaled scalars x (M, S), c_noise (M, S) -> F (M, S)."""
        h = self.lift(waves(x))
        level = self.noise(waves(noise))
        for block, cell in zip(self.blocks, condition, strict=True):
            h = block(h, cell, level)
        return self.out(self.norm(h))[..., 0]


def waves(x: Tensor) -> Tensor:
    """A scalar and four octaves of sine and cosine: (...) -> (..., 9)."""
    angle = x[..., None] * 2.0 ** torch.arange(4, device=x.device, dtype=x.dtype)
    return torch.cat([x[..., None], torch.sin(angle), torch.cos(angle)], dim=-1)
