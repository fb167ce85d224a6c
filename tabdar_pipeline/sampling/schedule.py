"""Noise levels of the solver (Karras et al. 2022, eq. 5)."""

import numpy as np
from numpy.typing import NDArray

SIGMA_MIN, SIGMA_MAX, RHO = 0.005, 20.0, 7.0  # for data of unit variance


def noise_levels(steps: int) -> NDArray[np.float64]:
    """sigma_0 > ... > sigma_{steps-1} > sigma_steps = 0.

    >>> [float(round(s, 2)) for s in noise_levels(3)]
    [20.0, 0.96, 0.0, 0.0]
    """
    i = np.arange(steps) / max(steps - 1, 1)
    top, bottom = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    return np.append((top + i * (bottom - top)) ** RHO, 0.0)
