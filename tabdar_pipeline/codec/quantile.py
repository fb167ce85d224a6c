"""The quantile function of what many rows do not share: knots of averages, never one row's value.

A dense column (a salary, a weight) has values that one person has. They enter only as means of
several neighbours in rank; a value that several rows share keeps its own flat piece of ranks, so
it comes back as itself with its own frequency. The few rows between two such values, or beyond the
last, get the value of their neighbour.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tabdar_pipeline.codec.rhythm import Rhythm

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
KNOTS = 1024


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A piecewise linear map between ranks p in [0, 1] and values, both nondecreasing.

    Where values have a rhythm, they are held as places on the line that it stretches.
    """

    ranks: Floats  # (J,)
    places: Floats  # (J,)
    rhythm: Rhythm | None = None

    @classmethod
    def fit(cls, values: Floats, counts: Counts, shared: int, rhythm: Rhythm | None = None) -> Self:
        """From distinct sorted values and how many rows have each; `shared` rows make a value public."""
        rows = int(counts.sum())
        upper = np.cumsum(counts)
        lower = upper - counts
        public = counts >= max(shared, 2)
        start = _starts(counts, public, shared)
        alone = np.logical_or.reduceat(public, start)  # with at most a few strangers, who get its value
        mine = np.repeat(alone, np.diff(np.r_[start, len(counts)]))
        weight = np.where(mine & ~public, 0, counts)
        low, high = lower[start], np.r_[lower[start[1:]], rows]
        first = np.where(alone, low, (low + high) / 2)
        ranks = np.stack([first, np.where(alone, high, first)], axis=1).ravel()
        keep = np.stack([np.full(len(start), True), alone], axis=1).ravel()
        ends = np.stack([_mean(it, weight, start) for it in _ends(values, rhythm, mine)], axis=1).ravel()
        return cls(ranks[keep] / rows, np.maximum.accumulate(ends[keep]), rhythm)

    def value(self, ranks: Floats) -> Floats:
        """The value at a rank."""
        places = np.interp(ranks, self.ranks, self.places)
        return places if self.rhythm is None else self.rhythm.ticks(places)

    @property
    def ends(self) -> Floats:
        """(2,) the smallest value and the largest."""
        return self.value(np.array([0.0, 1.0]))

    def interval(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """The ranks at which the value lies between low and high."""
        if self.rhythm is not None:
            low, high = self.rhythm.stretched(low), self.rhythm.stretched(high)
        return self._rank(low, "left"), self._rank(high, "right")

    def _rank(self, places: Floats, side: str) -> Floats:
        right = side == "right"
        j = np.searchsorted(self.places, places, side="right" if right else "left")
        inner = np.clip(j, 1, max(len(self.places) - 1, 1))
        v0, p0 = self.places[inner - 1], self.ranks[inner - 1]
        v1, p1 = self.places[inner % len(self.places)], self.ranks[inner % len(self.ranks)]
        span = np.where(v1 > v0, v1 - v0, 1.0)
        share = np.clip((places - v0) / span, 0.0, 1.0)
        p = p0 + (p1 - p0) * share
        return np.where(j == 0, 0.0, np.where(j == len(self.places), 1.0, p))


def _ends(values: Floats, rhythm: Rhythm | None, alone: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Where each value (N,) begins and ends on the line: of one that stands alone, all of its stretched tick."""
    if rhythm is None:
        return values, values
    half = np.where(alone, 0.5, 0.0)
    return rhythm.stretched(values - half), rhythm.stretched(values + half)


def _mean(values: Floats, weight: Counts, start: NDArray[np.intp]) -> Floats:
    """The weighted mean of each group of values; weights of a group add up to more than nothing."""
    return np.add.reduceat(values * weight, start) / np.add.reduceat(weight, start)


def _edges(rows: int, shared: int) -> Floats:
    """Where groups of neighbours end: equal in the middle, as small as allowed in the tails."""
    size = max(rows / KNOTS, shared)
    even = np.arange(0.0, rows, size)
    steps = shared * 1.3 ** np.arange(np.log(max(size / shared, 1)) / np.log(1.3))
    tail = np.cumsum(steps)
    tail = tail[tail < rows / 2]
    inner = even[(even > tail[-1]) & (even < rows - tail[-1])] if len(tail) else even[1:]
    return np.concatenate([tail, inner, rows - tail[::-1]])


def _starts(counts: Counts, public: NDArray[np.bool_], shared: int) -> NDArray[np.intp]:
    """Where groups of distinct values begin: a public one alone, others with at least `shared` rows.

    A run of fewer rows beside a public value has no group of its own: it would be one person's.
    """
    middle = np.cumsum(counts) - counts / 2
    group = np.searchsorted(_edges(int(counts.sum()), shared), middle, side="right")
    group = np.where(public, -1 - np.arange(len(counts)), group)
    start = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    weight, alone = np.add.reduceat(counts, start), public[start]
    return start[_begins(weight, alone, _rest(weight, alone), shared)]


def _begins(weight: Counts, alone: NDArray[np.bool_], rest: Counts, shared: int) -> NDArray[np.bool_]:
    """Which groups stay groups; the others join the one before them, so that none is too small."""
    begins = np.ones(len(weight), bool)
    rows, full = 0, True
    for g, (w, a, left) in enumerate(zip(weight, alone, rest, strict=True)):
        begins[g] = g == 0 or (full and (a or left >= shared))
        rows = w if begins[g] else rows + w
        full = a or rows >= shared or (full and not begins[g])
    return begins


def _rest(weight: Counts, alone: NDArray[np.bool_]) -> Counts:
    """Rows from each group to the end of its run, which is where a group stands alone."""
    below = np.r_[0, np.cumsum(weight)]
    ends = np.r_[np.flatnonzero(alone), len(weight)]
    run = ends[np.searchsorted(ends, np.arange(len(weight)))]
    return np.asarray(below[run] - below[:-1])
