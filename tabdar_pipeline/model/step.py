"""The any-order loop's steps as pure functions: what is exported, and what torch runs.

Columns are revealed (their keys and values are kept, in arrays that are never copied), a column is asked
for, and its diffusion is solved. B rows, N columns revealed now, M that look, T places for those revealed before, L blocks,
H heads of D = E / H, G heads of keys and values, R = H / G, E width, K codes of the column that is asked for.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from tabdar_pipeline.model.backbone import Attention, Backbone
from tabdar_pipeline.model.tabdar import TabDAR

MOST = 80.0  # of a score above the register's; its exponential is still a float


class Seen(NamedTuple):
    """Keys and values of columns, and who sees them: 1, or 0 for what does not count."""

    keys: Tensor  # (B, G, N, D)
    values: Tensor  # (B, G, N, D)
    shown: Tensor  # (B, 1, 1 or M, N)


class Answer(NamedTuple):
    """The condition of the column that was asked for, and its logits."""

    z: Tensor  # (B, E)
    logits: Tensor  # (B, K)


class Recall(nn.Module):
    """A trained attention for rows that grow: it looks at the register, and at what was revealed.

    The same function as `Attention`, in fewer and cheaper operations. Every row sees the register: keys
    and values are kept as differences from its own, so that it weighs exp(0) and adds only to the bias
    of what comes out; and no maximum need be sought for a stable softmax.
    """

    __call__: Callable[..., Tensor]

    def __init__(self, attention: Attention, register: Tensor) -> None:
        """Register (1, 1, 2 G D): its keys and values."""
        super().__init__()
        self.heads, self.groups = attention.heads, attention.groups
        self.width = attention.query.in_features // self.heads
        key, value = register[0, 0].chunk(2)
        scale = self.width**-0.5
        keys, values = attention.memory.weight.chunk(2)
        key_bias, value_bias = attention.memory.bias.chunk(2)
        of_heads = value.view(self.groups, 1, self.width).expand(-1, self.heads // self.groups, -1)
        bias = attention.out.bias + attention.out.weight @ of_heads.flatten()
        self.query = _linear(scale * attention.query.weight, scale * attention.query.bias)
        self.key, self.value = _linear(keys, key_bias - key), _linear(values, value_bias - value)
        self.out = _linear(attention.out.weight, bias)

    def kept(self, linear: nn.Linear, x: Tensor) -> Tensor:
        """Keys or values of (B, N, E), as (B, G, N, D)."""
        flat: Tensor = linear(x.flatten(0, 1))
        rows, tokens, _ = x.shape
        if tokens == 1:  # nothing to transpose
            return flat.view(rows, self.groups, 1, self.width)
        return flat.view(rows, tokens, self.groups, self.width).transpose(1, 2)

    def asked(self, x: Tensor) -> Tensor:
        """Queries of (B, M, E), those of the heads of a group side by side: (B, G, R M, D)."""
        flat: Tensor = self.query(x.flatten(0, 1))
        rows, tokens, _ = x.shape
        if tokens == 1:
            return flat.view(rows, self.groups, -1, self.width)
        heads = flat.view(rows, tokens, self.groups, -1, self.width).permute(0, 2, 3, 1, 4)
        return heads.flatten(2, 3)

    def forward(self, x: Tensor, *seen: Seen) -> Tensor:
        """What (B or 1, M, E) gather from all that is seen -> (B, M, E)."""
        query, tokens = self.asked(x), x.shape[1]
        repeat = (1, 1, self.heads // self.groups, 1)
        shares = [
            torch.exp(_scores(query, it.keys).clamp(max=MOST))
            * (it.shown.repeat(repeat) if it.shown.shape[2] > 1 else it.shown)
            for it in seen
        ]
        weight = sum(
            (share.sum(-1, keepdim=True) for share in shares[1:]), 1 + shares[0].sum(-1, keepdim=True)
        )
        parts = [_mixed(share, it.values) for share, it in zip(shares, seen, strict=True)]
        mixed = sum(parts[1:], parts[0]) / weight  # (B, G, R M, D)
        if tokens > 1:
            mixed = mixed.unflatten(2, (-1, tokens)).permute(0, 3, 1, 2, 4)
        return self.out(mixed.reshape(-1, x.shape[2])).view(-1, tokens, x.shape[2])


def _scores(query: Tensor, keys: Tensor) -> Tensor:
    """(B or 1, G, M, D), (B, G, N, D) -> (B, G, M, N).

    To look at one key needs no product of matrices; one query for all rows needs no product for each row.
    """
    if keys.shape[2] == 1:
        return (query * keys).sum(-1, keepdim=True)
    if query.shape[:2] == (1, 1):
        return (keys @ query[0, 0].T).transpose(-1, -2)
    return query @ keys.transpose(-1, -2)


def _mixed(share: Tensor, values: Tensor) -> Tensor:
    """(B, G, M, N), (B, G, N, D) -> (B, G, M, D)."""
    return share * values if values.shape[2] == 1 else share @ values


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """These weights and this bias as a layer."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def recalls(backbone: Backbone) -> list[Recall]:
    """The attentions of the encoder's blocks, then of the decoder's."""
    blocks = [*backbone.encoder, *backbone.decoder]
    pairs = zip(blocks, _registers(backbone), strict=True)
    return [Recall(block.attention, register) for block, register in pairs]


@torch.no_grad()
def _registers(backbone: Backbone) -> list[Tensor]:
    """For each block the keys and values (1, 1, 2 G D) of the register, which sees only itself."""
    x, kept = backbone.register, []
    for block in backbone.encoder:
        kept.append(block.attention.remember(block.norm(x)))
        x = block(x, kept[-1], torch.zeros(1, device=x.device))
    states = backbone.norm_memory(x)
    return kept + [block.attention.remember(states) for block in backbone.decoder]


class Reveal(nn.Module):
    """Reveal columns: their keys and values for every block of encoder and decoder.

    Without an encoder a column sees no other, and only the first three inputs are needed.
    """

    def __init__(self, model: TabDAR) -> None:
        super().__init__()
        self.embedding, self.backbone = model.embedding, model.backbone
        self.recalls = nn.ModuleList(recalls(model.backbone))

    def forward(
        self,
        columns: Tensor,
        codes: Tensor,
        values: Tensor,
        earlier: Tensor | None = None,
        shown: Tensor | None = None,
        past_shown: Tensor | None = None,
        past: Sequence[Tensor] = (),
    ) -> list[Tensor]:
        """Columns (N,), codes, values and shown (B, N), earlier (N, N): 1 where a token sees another.

        past: 2 arrays (B, G, T, D) of keys and values for each block of the encoder, of which past_shown
        (B, T) count -> the same of the columns revealed now (B, G, N, D), and those for the decoder.
        """
        layers, kept = len(self.backbone.encoder), list[Tensor]()
        every = cast("list[Recall]", list(self.recalls))
        x = self.embedding(columns, codes, values)
        for i, (block, recall) in enumerate(zip(self.backbone.encoder, every[:layers], strict=True)):
            assert earlier is not None
            assert shown is not None
            assert past_shown is not None
            token = block.norm(x)
            kept += [recall.kept(recall.key, token), recall.kept(recall.value, token)]
            before = Seen(past[2 * i], past[2 * i + 1], past_shown[:, None, None])
            x = x + recall(token, before, Seen(kept[-2], kept[-1], shown[:, None, None] * earlier))
            x = x + folded(block.mlp, x)
        states = self.backbone.norm_memory(x)
        for recall in every[layers:]:
            kept += [recall.kept(recall.key, states), recall.kept(recall.value, states)]
        return kept


class Ask(nn.Module):
    """Ask for a column, given what was revealed."""

    def __init__(self, model: TabDAR) -> None:
        super().__init__()
        self.backbone, self.heads = model.backbone, model.heads
        self.recalls = nn.ModuleList(recalls(model.backbone)[len(model.backbone.encoder) :])

    def forward(self, target: Tensor, levels: Tensor, past_shown: Tensor, past: list[Tensor]) -> Answer:
        """Target (1,), its flat codes (K,); past: keys and values (B, G, T, D) of the decoder's blocks."""
        x = self.backbone.query[target][None]  # (1, 1, E): until it has looked, it is every row's
        before = past_shown[:, None, None]
        every = cast("list[Recall]", list(self.recalls))
        for i, (block, recall) in enumerate(zip(self.backbone.decoder, every, strict=True)):
            x = x + recall(block.norm(x), Seen(past[2 * i], past[2 * i + 1], before))
            x = x + folded(block.mlp, x)
        z = self.backbone.norm_out(x)[:, 0]
        return Answer(z, self.heads.logits(z, levels))


def folded(module: nn.Module, x: Tensor) -> Tensor:
    """A module of rows on (B, N, E) as one matrix: a product and its bias are then one operation."""
    y: Tensor = module(x.flatten(0, 1))
    return y.view(x.shape[0], x.shape[1], y.shape[-1])


class Slope(nn.Module):
    """The nested diffusion's F of some cells at one angle: the solver walks along it."""

    def __init__(self, model: TabDAR) -> None:
        super().__init__()
        self.denoiser = model.denoiser

    def forward(self, x: Tensor, theta: Tensor, z: Tensor, flat: Tensor) -> Tensor:
        """Scalars x (M,), theta (1,) with sigma = tan(theta), conditions z (M, E), flat codes (M,) -> (M,)."""
        level = torch.log(torch.tan(theta)) / 4  # c_noise of EDM
        condition = self.denoiser.condition(z, flat)
        slope: Tensor = self.denoiser(x[:, None], level[None], condition)[:, 0]
        return slope
