"""How much days weigh: Sundays, month ends and holidays, beside the days around them.

T days in a row, M weights of one sort of day.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Days = NDArray[np.int64]  # since 1970-01-01

WEEKDAY, OF_MONTH, FROM_END, OF_YEAR = range(4)
_SIZES = {WEEKDAY: 7, OF_MONTH: 31, FROM_END: 31, OF_YEAR: 12 * 31}
_STRETCH = 28  # days within which the volume is taken to be even
_ROUNDS = 12  # in each of which the sort that explains most is fitted, given the others
_NONE = 20.0  # rows that were due where there are none: such days have none
_CLEARLY = 6.0  # standard deviations
_FINE = 0.02  # smaller differences are left
LONGEST = 40_000  # days that are told apart


@dataclass(frozen=True, slots=True)
class Calendar:
    """The weight of a day is the product of what its weekday, its day of the month from both ends, and its date weigh."""

    weights: tuple[tuple[int, int, float], ...]  # sort, which one of the sort, weight; others weigh 1

    @classmethod
    def fit(cls, days: Days, rows: Floats, shared: int) -> Self | None:
        """From distinct days in order and the rows of each (T,); none where all days weigh about the same.

        Fewer rows than `shared` are not told from so many, unless there are none.
        """
        every = np.arange(days[0], days[-1] + 1)
        if len(every) < 2 * _STRETCH or len(every) > LONGEST:
            return None
        seen = np.zeros(len(every))
        seen[days - days[0]] = rows
        kinds = {sort: _kinds(sort, every) for sort in _SIZES}
        weight = {sort: np.ones(size) for sort, size in _SIZES.items()}
        for _ in range(_ROUNDS):
            due = _due(seen, _product(weight, kinds))
            steps = [_step(sort, kinds[sort], seen, due, shared) for sort in _SIZES]
            best = max(steps, key=lambda step: step.gain)
            if best.gain <= 0:
                break
            weight[best.sort] *= best.ratio
        found = [
            (sort, int(i), float(weight[sort][i]))
            for sort in _SIZES
            for i in np.flatnonzero(weight[sort] != 1)
        ]
        return cls(tuple(found)) if found else None

    def of(self, days: Days) -> Floats:
        """(T,) what these days weigh."""
        weight = {sort: np.ones(size) for sort, size in _SIZES.items()}
        for sort, which, value in self.weights:
            weight[sort][which] = value
        return _product(weight, {sort: _kinds(sort, days) for sort in _SIZES})

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The calendar that `to_json` wrote."""
        return cls(tuple((sort, which, value) for sort, which, value in record["weights"]))


def _kinds(sort: int, days: Days) -> Days:
    """(T,) which day of its sort each is."""
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    of_month = (dates - months.astype("datetime64[D]")).astype(np.int64)
    match sort:
        case 0:
            return np.asarray((days + 3) % 7)  # Monday is 0
        case 1:
            return of_month
        case 2:
            return np.asarray(((months + 1).astype("datetime64[D]") - dates).astype(np.int64) - 1)
    return np.asarray((months.astype(np.int64) % 12) * 31 + of_month)


def _product(weight: Mapping[int, Floats], kinds: Mapping[int, Days]) -> Floats:
    return np.asarray(np.prod([weight[sort][kinds[sort]] for sort in _SIZES], axis=0))


def _due(seen: Floats, weight: Floats) -> Floats:
    """(T,) rows to be expected of each day: those of its stretch, shared out by weight."""
    stretch = np.arange(len(seen)) // _STRETCH
    rows, whole = np.bincount(stretch, seen), np.bincount(stretch, weight)
    return weight * (rows / np.where(whole > 0, whole, 1))[stretch]


class _Step(NamedTuple):
    """By what to multiply the weights of one sort of day, and how much likelier that makes the rows."""

    sort: int
    ratio: Floats  # (M,)
    gain: float  # nats


def _step(sort: int, kinds: Days, seen: Floats, due: Floats, shared: int) -> _Step:
    """1 where days do not clearly differ: dates each by itself, of the others all or none."""
    here, due = (np.bincount(kinds, it, _SIZES[sort]).astype(np.float64) for it in (seen, due))
    possible = due > 1e-9
    off = np.where(possible, (here - due) / np.sqrt(np.where(possible, due, 1)), 0)
    clear = np.abs(off) > _CLEARLY if sort == OF_YEAR else np.full(len(here), _differ(off, possible))
    if sort == OF_YEAR:
        clear |= (here == 0) & (due > _NONE)
    told = np.where(here >= shared, here, shared) / np.maximum(due, shared)
    told = np.where(here >= shared, here / np.where(possible, due, 1), told)
    told = np.where((here == 0) & (due > _NONE), 0.0, told)
    ratio = np.where(clear & possible & (np.abs(told - 1) > _FINE), told, 1.0)
    gain = (here * np.log(np.where(ratio > 0, ratio, 1)) - (ratio - 1) * due).sum()
    return _Step(sort, ratio, float(gain) if (ratio != 1).any() else 0.0)


def _differ(off: Floats, possible: NDArray[np.bool_]) -> bool:
    """Whether deviations (M,), in standard deviations, are clearly more than chance: chi square."""
    degrees = int(possible.sum()) - 1
    return degrees > 0 and bool((off[possible] ** 2).sum() > degrees + _CLEARLY * np.sqrt(2 * degrees))
