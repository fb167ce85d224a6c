"""All that a network knows of a table: sizes and rank intervals, never names or values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """One column: K codes; an ordered column gives each code its interval of ranks.

    A code whose interval is open (low < high) carries a continuous residual, which the nested
    diffusion draws; a code with low == high is one point. An unordered column has no intervals.

    >>> ColumnSpec(3, low=(0.0, 0.7, 0.8), high=(0.7, 0.7, 1.0)).continuous
    (True, False, True)
    """

    levels: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def ordered(self) -> bool:
        """Whether codes have a place on the line of ranks."""
        return bool(self.low)

    @property
    def continuous(self) -> tuple[bool, ...]:
        """For each code, whether it carries a residual."""
        if not self.ordered:
            return (False,) * self.levels
        return tuple(b > a for a, b in zip(self.low, self.high, strict=True))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The record that `dataclasses.asdict` gave."""
        return cls(record["levels"], tuple(record["low"]), tuple(record["high"]))


@dataclass(frozen=True, slots=True)
class CodeTable:
    """The codes of all columns in one flat row, K in total; column c owns offsets[c]:offsets[c+1]."""

    offsets: NDArray[np.int64]  # (C + 1,)
    low: NDArray[np.float32]  # (K,) lower end of a code's ranks; 0.5 where it has none
    high: NDArray[np.float32]  # (K,)
    ordered: NDArray[np.bool_]  # (K,)
    continuous: NDArray[np.bool_]  # (K,)

    @classmethod
    def of(cls, columns: Sequence[ColumnSpec]) -> Self:
        """The flat table of these columns."""
        middle = [(0.5,) * c.levels for c in columns]
        return cls(
            offsets=np.cumsum([0, *(c.levels for c in columns)]).astype(np.int64),
            low=np.concatenate([c.low or m for c, m in zip(columns, middle, strict=True)]).astype(np.float32),
            high=np.concatenate([c.high or m for c, m in zip(columns, middle, strict=True)]).astype(
                np.float32
            ),
            ordered=np.concatenate([np.full(c.levels, c.ordered) for c in columns]),
            continuous=np.concatenate([np.array(c.continuous) for c in columns]),
        )


def spec_to_json(columns: Sequence[ColumnSpec]) -> list[dict[str, Any]]:
    """Plain values, for JSON."""
    return [asdict(column) for column in columns]
