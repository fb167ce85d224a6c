"""The standard normal distribution on one table, so that numpy alone is exact both ways."""

import math

import numpy as np
from numpy.typing import NDArray

_LIMIT = 5.5
_SCORES = np.linspace(-_LIMIT, _LIMIT, 16385)
_RANKS = np.array([0.5 * math.erfc(-x * math.sqrt(0.5)) for x in _SCORES])
_RANKS[0], _RANKS[-1] = 0.0, 1.0


def rank(score: NDArray[np.floating]) -> NDArray[np.float64]:
    """Phi: a normal score to its rank in [0, 1].

    >>> float(rank(np.array([0.0]))[0])
    0.5
    """
    return np.interp(score, _SCORES, _RANKS)


def score(rank: NDArray[np.floating]) -> NDArray[np.float64]:
    """Phi^-1: a rank in [0, 1] to its normal score, within +-5.5."""
    return np.interp(rank, _RANKS, _SCORES)
