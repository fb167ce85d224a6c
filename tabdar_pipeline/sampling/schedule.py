"""Angles of the solver: where between noise and data the network is asked."""

import math
from typing import Literal

Quality = Literal["exact", "balanced", "fast"]  # how finely the diffusion is solved
STEPS: dict[Quality, int] = {"exact": 20, "balanced": 2, "fast": 1}  # of Heun's method


def angles(steps: int) -> list[float]:
    """theta_0 > ... > theta_steps = 0, with noise level sigma = tan(theta); denser near the data.

    >>> [round(theta, 2) for theta in angles(3)]
    [1.56, 0.86, 0.3, 0.0]
    """
    noise = math.atan(100.0)
    return [noise, *(math.pi / 2 * (1 - i / steps) ** 1.5 for i in range(1, steps)), 0.0]
