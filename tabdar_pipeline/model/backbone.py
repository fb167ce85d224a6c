"""The masked transformer over columns: an encoder of what is visible, a decoder of queries.

B rows, N tokens, T visible tokens, H heads of D = E / H, G heads of keys and values, R = H / G, E width.
"""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tabdar_pipeline.model.config import ModelConfig
from tabdar_pipeline.model.embedding import lookup


class Attention(nn.Module):
    """Scaled dot-product attention; `hidden` says which keys a query must not see.

    Groups of R heads share keys and values (Ainslie et al. 2023). Plain matrix products: on sequences as
    short as a row of a table they are faster on a CPU than the fused kernel.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, self.heads, self.groups = config.width, config.heads, config.groups
        self.query = nn.Linear(width, width)
        self.memory = nn.Linear(width, 2 * width * self.groups // self.heads)
        self.out = nn.Linear(width, width)

    def remember(self, x: Tensor) -> Tensor:
        """Keys and values of visible tokens, side by side: (B, T, E) -> (B, T, 2 G D)."""
        return self.memory(x)

    def forward(self, x: Tensor, memory: Tensor, hidden: Tensor) -> Tensor:
        """Queries (B, N, E) over memory (B, T, 2 G D); hidden (B, 1, N, T) is added to the scores."""
        rows, tokens, width = x.shape
        heads = self.query(x).unflatten(-1, (self.groups, -1, width // self.heads))  # (B, N, G, R, D)
        query = heads.permute(0, 2, 3, 1, 4).flatten(2, 3)  # (B, G, R N, D)
        key, value = (
            part.unflatten(-1, (self.groups, -1)).transpose(1, 2) for part in memory.chunk(2, dim=-1)
        )
        score = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        score = score.unflatten(2, (-1, tokens)) + hidden[:, None]  # (B, G, R, N, T)
        mixed = torch.softmax(score, dim=-1).flatten(2, 3) @ value
        return self.out(mixed.unflatten(2, (-1, tokens)).permute(0, 3, 1, 2, 4).reshape(rows, tokens, width))


class Block(nn.Module):
    """Attention and an MLP, each around a residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.mlp = nn.Sequential(
            nn.LayerNorm(config.width),
            nn.Linear(config.width, config.expansion * config.width),
            nn.GELU(),
            nn.Linear(config.expansion * config.width, config.width),
        )

    def forward(self, x: Tensor, memory: Tensor, hidden: Tensor) -> Tensor:
        """Queries (B, N, E) and the memory they look at -> (B, N, E)."""
        x = x + self.attention(self.norm(x), memory, hidden)
        return x + self.mlp(x)


class Blocks(nn.ModuleList):
    """A list of blocks, and known to be one."""

    def __iter__(self) -> Iterator[Block]:
        """Block by block."""
        return cast("Iterator[Block]", super().__iter__())


class Backbone(nn.Module):
    """Encoder over register and visible columns; decoder from queries to what they may see."""

    def __init__(self, columns: int, config: ModelConfig) -> None:
        super().__init__()
        self.register = nn.Parameter(torch.randn(1, 1, config.width) * 0.02)
        self.query = nn.Parameter(torch.randn(columns, config.width) * 0.5)
        self.encoder = Blocks(Block(config) for _ in range(config.layers))
        self.decoder = Blocks(Block(config) for _ in range(config.decoder_layers))
        self.norm_memory = nn.LayerNorm(config.width)
        self.norm_out = nn.LayerNorm(config.width)

    def encode(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Tokens (B, C, E), hidden (B, 1, C + 1, C + 1) -> states (B, C + 1, E), register first."""
        register = self.register.to(tokens.dtype).expand(len(tokens), -1, -1)
        x, hidden = torch.cat([register, tokens], dim=1), hidden.to(tokens.dtype)
        for block in self.encoder:
            x = block(x, block.attention.remember(block.norm(x)), hidden)
        return self.norm_memory(x)

    def decode(self, states: Tensor, columns: Tensor, hidden: Tensor) -> Tensor:
        """States (B, T, E), queried columns (Q,) -> conditions z (B, Q, E)."""
        x = lookup(self.query, columns).to(states.dtype).expand(len(states), -1, -1)
        hidden = hidden.to(states.dtype)
        for block in self.decoder:
            x = block(x, block.attention.remember(states), hidden)
        return self.norm_out(x)


def conceal(times: Tensor, queries: Tensor, *, strict: bool) -> Tensor:
    """What a token or query at one time must not see: 0 or -inf, (B, 1, N, 1 + C).

    `times` (B, C): when each column is revealed. A token sees the columns revealed no later than
    itself, a query only those revealed strictly earlier; all see the register.
    """
    later = times[:, None, :] >= queries[:, :, None] if strict else times[:, None, :] > queries[:, :, None]
    seen = F.pad(later, (1, 0), value=False)
    zero = torch.zeros((), device=times.device)
    return torch.where(seen, zero - torch.inf, zero)[:, None]
