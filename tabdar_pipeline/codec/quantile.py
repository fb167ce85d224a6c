"""The quantile function of what many rows do not share: knots of averages, never one row's value.

A dense column (a salary, a weight) has values that one person has. They enter only as means of
several neighbours in rank; a value that several rows share keeps its own flat piece of ranks, so
it comes back as itself with its own frequency.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
KNOTS = 1024


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A piecewise linear map between ranks p in [0, 1] and values, both nondecreasing."""

    ranks: Floats  # (J,)
    values: Floats  # (J,)

    @classmethod
    def fit(cls, values: Floats, counts: NDArray[np.int64], shared: int) -> Self:
        """From distinct sorted values and how many rows have each; `shared` rows make a value public."""
        rows = int(counts.sum())
        upper = np.cumsum(counts)
        lower = upper - counts
        public = counts >= shared
        edges = _edges(rows, shared)
        middle = (lower + upper) / 2
        group = np.searchsorted(edges, middle, side="right")
        group = np.where(public, -1 - np.arange(len(values)), group)  # a public value stands alone
        start = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
        weight = np.add.reduceat(counts, start)
        mean = np.add.reduceat(values * counts, start) / weight
        low, high = lower[start], lower[start] + weight
        alone = public[start]
        first = np.where(alone, low, (low + high) / 2)
        ranks = np.stack([first, np.where(alone, high, first)], axis=1).ravel()
        keep = np.stack([np.full(len(start), True), alone], axis=1).ravel()
        knots = np.repeat(np.maximum.accumulate(mean), 2)
        return cls(ranks[keep] / rows, knots[keep])

    def value(self, ranks: Floats) -> Floats:
        """The value at a rank."""
        return np.interp(ranks, self.ranks, self.values)

    def interval(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """The ranks at which the value lies between low and high."""
        return self._rank(low, "left"), self._rank(high, "right")

    def _rank(self, values: Floats, side: str) -> Floats:
        right = side == "right"
        j = np.searchsorted(self.values, values, side="right" if right else "left")
        inner = np.clip(j, 1, max(len(self.values) - 1, 1))
        v0, p0 = self.values[inner - 1], self.ranks[inner - 1]
        v1, p1 = self.values[inner % len(self.values)], self.ranks[inner % len(self.ranks)]
        span = np.where(v1 > v0, v1 - v0, 1.0)
        share = np.clip((values - v0) / span, 0.0, 1.0)
        p = p0 + (p1 - p0) * share
        return np.where(j == 0, 0.0, np.where(j == len(self.values), 1.0, p))


def _edges(rows: int, shared: int) -> Floats:
    """Where groups of neighbours end: equal in the middle, as small as allowed in the tails."""
    size = max(rows / KNOTS, shared)
    even = np.arange(0.0, rows, size)
    steps = shared * 1.3 ** np.arange(np.log(max(size / shared, 1)) / np.log(1.3))
    tail = np.cumsum(steps)
    tail = tail[tail < rows / 2]
    inner = even[(even > tail[-1]) & (even < rows - tail[-1])] if len(tail) else even[1:]
    return np.concatenate([tail, inner, rows - tail[::-1]])
