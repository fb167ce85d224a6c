"""The deterministic solver: Heun's method on the probability-flow ODE, in angles.

With sigma = tan(theta) and x = cos(theta) y + sin(theta) n, the ODE of EDM for data of unit
variance is dx / dtheta = -F(x; theta), where F is the raw network (Karras et al. 2022, eq. 1 and 7;
Lu and Song 2024, section 3). A residual that is already standard normal has F = 0: the path is
straight, and few steps are exact.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any


def heun(network: Callable[[Any, float], Any], noise: Any, thetas: Sequence[float]) -> Any:
    """Carry unit noise to a sample; `network(x, theta)` is F. Arrays of numpy or torch alike."""
    x = noise
    for theta, following in pairwise(thetas):
        slope = -network(x, theta)
        ahead = x + (following - theta) * slope
        if following > 0:
            slope = (slope - network(ahead, following)) / 2
        x = x + (following - theta) * slope
    return x
