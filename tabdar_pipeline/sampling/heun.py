"""The deterministic solver: Heun's method on the probability-flow ODE.

Algorithm 1 of Karras et al. 2022 with sigma(t) = t. Works on numpy arrays and torch tensors alike.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

X = TypeVar("X")


def heun(denoise: Callable[[X, float], X], noise: X, sigmas: Sequence[float]) -> X:
    """Carry unit noise to a sample; `denoise(x, sigma)` is D(x; sigma)."""
    x = noise * (sigmas[0] ** 2 + 1) ** 0.5  # type: ignore[operator]
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        slope = (x - denoise(x, sigma)) / sigma
        euler = x + (following - sigma) * slope
        if following > 0:
            ahead = (euler - denoise(euler, following)) / following
            euler = x + (following - sigma) * (slope + ahead) / 2
        x = euler
    return x
