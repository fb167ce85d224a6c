"""Who takes part: rows that were learned, rows that were not, and the table that is attacked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tabdar_pipeline.quality.plain import Plain
from tabdar_pipeline.quality.privacy import keys

Floats = NDArray[np.float32]
_BLOCK = 1_500_000  # distances held at a time
_TAILS = 0.01  # of a number's values at each end, which do not count for its spread


@dataclass(frozen=True, slots=True)
class Sides:
    """Training and held-out rows that no other row of theirs equals, and the synthetic rows.

    A row that several people share singles no one out. And equal rows fall on one side of the split,
    so that only the others are as likely to be learned as not.
    """

    train: Plain
    holdout: Plain
    synthetic: Plain

    @classmethod
    def of(cls, train: Plain, holdout: Plain, synthetic: Plain) -> Self:
        """From whole tables."""
        return cls(train.take(alone(train)), holdout.take(alone(holdout)), synthetic)


@dataclass(frozen=True, slots=True)
class Points:
    """Rows as points: numbers over the training rows' spread, categories as codes."""

    numbers: Floats  # (P, N)
    codes: NDArray[np.int32]  # (Q, N)

    @classmethod
    def of(cls, it: Plain, train: Plain) -> Self:
        """On the scale of the training rows."""
        return cls(scaled(it, train).T.copy(), it.codes.T.astype(np.int32))

    def __len__(self) -> int:
        """N, the number of rows."""
        return self.codes.shape[1]

    @property
    def columns(self) -> int:
        """C, numbers and categories."""
        return len(self.numbers) + len(self.codes)

    def blocks(self, other: "Points") -> Iterator["Points"]:
        """A few rows at a time, so that their distances to all of `other` fit."""
        size = max(1, _BLOCK // max(len(other), 1))
        for start in range(0, len(self), size):
            yield Points(self.numbers[:, start : start + size], self.codes[:, start : start + size])

    def apart(self, other: "Points", column: int) -> Floats:
        """(N, M) how far rows are apart in one column, 0 to 1 (Gower): categories differ or do not."""
        p = len(self.numbers)
        if column >= p:
            ours, theirs = self.codes[column - p], other.codes[column - p]
            return (ours[:, None] != theirs).astype(np.float32)
        gap = np.subtract(self.numbers[column][:, None], other.numbers[column])
        np.abs(gap, out=gap)
        return np.minimum(gap, 1, out=gap)

    def distances(self, other: "Points", columns: Sequence[int]) -> Floats:
        """(N, M) sums over these columns."""
        total = np.zeros((len(self), len(other)), np.float32)
        for column in columns:
            total += self.apart(other, column)
        return total


def scaled(it: Plain, train: Plain) -> Floats:
    """(N, P) numbers over their spread in the training rows."""
    if not len(train) or not it.numbers.size:
        return it.numbers.astype(np.float32)
    return ((it.numbers - train.numbers.mean(axis=0)) / spreads(train)).astype(np.float32)


def spreads(it: Plain) -> NDArray[np.float64]:
    """(P,) from the first to the last of a number's middle 98 %; all of it where that is 0, 1 where it is constant."""
    low, high = np.quantile(it.numbers, [_TAILS, 1 - _TAILS], axis=0)
    ends = it.numbers.max(axis=0) - it.numbers.min(axis=0)
    return np.where(high > low, high - low, np.where(ends > 0, ends, 1.0))


def alone(it: Plain) -> NDArray[np.intp]:
    """Places of the rows that no other row of theirs equals."""
    _, which, counts = np.unique(keys(it), return_inverse=True, return_counts=True)
    return np.flatnonzero(counts[which] == 1)
