"""Muon: the nearest orthogonal matrix to the momentum, for all matrices of one shape at once.

N matrices of A rows and B columns, A <= B: taller ones are turned.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

MOMENTUM, DECAY = 0.9, 0.1
ROUNDS, QUINTIC = 5, (3.4445, -4.7750, 2.0315)  # of Newton and Schulz, as Jordan chose them


class Muon:
    """Muon (Jordan et al. 2024), its rate scaled as by Liu et al. 2025: no direction is learned before another.

    `torch.optim.Muon` takes one matrix after the other, and its rate as a number, which a CUDA graph cannot change.
    """

    def __init__(self, matrices: Iterable[Tensor]) -> None:
        shapes: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
        for weight in matrices:
            shapes[min(weight.shape), max(weight.shape)].append(weight)
        self.stacks = list(shapes.values())
        self.momenta = [torch.zeros_like(_stack(stack)) for stack in self.stacks]

    @torch.no_grad()
    def step(self, rate: Tensor, finite: Tensor) -> None:
        """Move the weights by their gradients; where these are not finite, by nothing."""
        rate = torch.where(finite, rate, 0.0)
        for weights, momentum in zip(self.stacks, self.momenta, strict=True):
            gradient = _stack(weight.grad for weight in weights if weight.grad is not None)
            gradient = torch.where(finite, gradient, momentum)
            momentum.lerp_(gradient, 1 - MOMENTUM)
            change = orthogonal(gradient.lerp(momentum, MOMENTUM))  # Nesterov's
            scale = rate * (0.2 * math.sqrt(momentum.shape[-1]))
            torch._foreach_mul_(weights, 1 - rate * DECAY)
            torch._foreach_sub_(weights, list(_unstack(change * scale, weights)))


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, A, B) -> matrices of the same directions, whose singular values are all near 1."""
    a, b, c = QUINTIC
    x = matrices.bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.to(matrices.dtype)


def _stack(matrices: Iterable[Tensor]) -> Tensor:
    """(N, A, B)."""
    return torch.stack([m if m.shape[0] <= m.shape[1] else m.T for m in matrices])


def _unstack(stack: Tensor, matrices: Iterable[Tensor]) -> Iterator[Tensor]:
    """Each in the shape of its matrix."""
    for part, matrix in zip(stack, matrices, strict=True):
        yield part if part.shape == matrix.shape else part.T
