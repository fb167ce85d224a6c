"""How often an attack succeeds, and how much of that the synthetic table is to blame for.

After Giomi et al., "A unified framework for quantifying privacy risk in synthetic data" (PETS 2023): what
an attack learns of rows that the generator never saw is knowledge about everyone. Only what it learns
of the training rows beyond that is a leak: risk = (train - control) / (1 - control).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of successes and its interval."""

    value: float
    low: float
    high: float
    attacks: int

    @classmethod
    def of(cls, successes: int, attacks: int, level: float = LEVEL) -> Self:
        """With Wilson's score interval; without attacks nothing is known.

        >>> rate = Rate.of(5, 50)
        >>> [round(x, 3) for x in (rate.value, rate.low, rate.high)]
        [0.1, 0.043, 0.214]
        """
        from scipy.stats import binomtest

        if not attacks:
            return cls(0.0, 0.0, 1.0, 0)
        ends = binomtest(successes, attacks).proportion_ci(level, method="wilson")
        return cls(successes / attacks, float(ends.low), float(ends.high), attacks)

    @classmethod
    def by_row(cls, hit: NDArray[np.intp], level: float = LEVEL) -> Self:
        """From the real row that each attack hit, -1 where it failed.

        Hits on one row stand or fall together, so that fewer attacks count for the interval.
        """
        _, together = np.unique(hit[hit >= 0], return_counts=True)
        hits = int(together.sum())
        effect = float((together**2).sum() / hits) if hits else 1.0
        rate = cls.of(round(hits / effect), max(round(len(hit) / effect), len(hit) > 0), level)
        value = hits / len(hit) if len(hit) else 0.0
        return cls(value, min(rate.low, value), max(rate.high, value), len(hit))

    @classmethod
    def exactly(cls, value: float) -> Self:
        """A rate that is known beforehand: a coin's."""
        return cls(value, value, value, 0)


@dataclass(frozen=True, slots=True)
class Risk:
    """What an attack gains from the synthetic table on its training rows, 0 to 1, and its interval."""

    value: float
    low: float
    high: float
    train: Rate  # success on rows that were learned
    control: Rate  # the same on rows that were not
    baseline: Rate  # success of a guess that looks at no row

    @classmethod
    def of(cls, train: Rate, control: Rate, baseline: Rate) -> Self:
        """The interval follows from those of both rates (Newcombe's hybrid), clipped to 0 and 1.

        >>> round(Risk.of(Rate.of(90, 100), Rate.of(50, 100), Rate.of(1, 100)).value, 3)
        0.8
        """
        rest = 1 - control.value
        if rest <= 0:
            return cls(0.0, 0.0, 1.0, train, control, baseline)
        value = (train.value - control.value) / rest
        slope = (1 - train.value) / rest**2  # of the risk, as the control falls
        below = hypot((train.value - train.low) / rest, (control.high - control.value) * slope)
        above = hypot((train.high - train.value) / rest, (control.value - control.low) * slope)
        value, low, high = (min(max(x, 0.0), 1.0) for x in (value, value - below, value + above))
        return cls(value, low, high, train, control, baseline)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The risk that `dataclasses.asdict` wrote."""
        rates = {name: Rate(**record[name]) for name in ("train", "control", "baseline")}
        return cls(**{**record, **rates})
