"""Where values fall that lie densely, but not evenly: on weekdays, at month ends, at midnight, at .99, on round hundreds.

Such a column is stretched before its quantiles are taken: a tick is as wide as rows fall on ticks like it. On the stretched
line rows lie evenly, so that a mean of neighbours, and a place between two of them, is a tick that may be.
N ticks, T periods, J parts of a period.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline.codec.calendar import Calendar
from tabdar_pipeline.codec.line import Line

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
_DAY = {"s": 86_400, "ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}
_DIGITS = (10_000, 1_000, 100, 10)  # periods of numbers, the longest first
_PARTS = (96, 24)  # of a day, where so many have rows enough
_EACH = 20  # rows in a part of a period, on average
_CLEARLY = 6.0  # standard deviations
_MUCH = 0.05  # chi square a row: weaker rhythms of digits are left
_POINT = 5  # times the rows of its neighbours, that a tick of a day has that is a part of its own
_POINTS = 1440  # such ticks at most
_EXACT = 2.0**53  # beyond it, neighbouring ticks are one float


class Shape(NamedTuple):
    """How the rows of a period lie in it."""

    edges: tuple[int, ...]  # (J + 1,) of its parts, in ticks
    shares: tuple[float, ...]  # (J,) of its rows


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Periods of one shape; days have weights of their own."""

    period: int  # ticks
    shift: int  # ticks from the start of a period to tick 0
    shape: Shape
    calendar: Calendar | None = None
    first: int = 0  # the day of tick 0
    start: int = 0  # the first period of the calendar; tick 0 lies in period 0
    days: int = 0  # T, where there is a calendar

    @classmethod
    def fit(cls, line: Line, kind: pa.DataType, ticks: Floats, rows: Counts, shared: int) -> Self | None:
        """Of distinct ticks in order (N,) and their rows (N,); none where they lie evenly."""
        if not line.grid or len(ticks) < 2 or pa.types.is_time(kind) or np.abs(ticks).max() >= _EXACT:
            return None
        whole = ticks.astype(np.int64)
        temporal = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
        return (cls._of_days if temporal else cls._of_digits)(line, kind, whole, rows, shared)

    @classmethod
    def _of_days(cls, line: Line, kind: pa.DataType, ticks: Counts, rows: Counts, shared: int) -> Self | None:
        day = 1 if pa.types.is_date32(kind) else _DAY["ms" if pa.types.is_date64(kind) else kind.unit]
        if day % line.step:
            return None
        first, within = divmod(line.origin, day)
        period, shift = day // line.step, within // line.step
        days, starts = np.unique((ticks + shift) // period, return_index=True)
        calendar = Calendar.fit(first + days, np.add.reduceat(rows, starts), shared)
        shape = _of_a_day((ticks + shift) % period, rows, period, shared)
        if calendar is None and len(shape.shares) == 1:
            return None
        return cls(period, shift, shape, calendar, first, int(days[0]), int(days[-1] - days[0]) + 1)

    @classmethod
    def _of_digits(cls, line: Line, _: pa.DataType, ticks: Counts, rows: Counts, shared: int) -> Self | None:
        base = line.origin // line.step
        for period in _DIGITS:
            place = ticks + base % period
            seen = _sums(place % period, rows, period)
            many = _EACH * min(int((seen > 0).sum()), period // 4)
            if rows.sum() >= many and _rhythmic(place, rows, period):
                told = _told(seen, np.ones(period), shared)
                shape = Shape(tuple(range(period + 1)), tuple((told / told.sum()).tolist()))
                return cls(period, int(base % period), shape)
        return None

    def stretched(self, ticks: Floats) -> Floats:
        """Places (N,) on the stretched line of ticks, from -1/2 before to 1/2 after each."""
        at = _stretches(self)
        period, inside = np.divmod(ticks + (0.5 + self.shift), self.period)
        part = np.interp(inside, self.shape.edges, at.parts)
        if at.days is None:
            return np.asarray(period + part)
        number = period - self.start
        day = np.clip(number, 0, self.days - 1).astype(np.int64)
        part = np.where(number < 0, 0, np.where(number >= self.days, 1, part))
        return np.asarray(at.days[day] + (at.days[day + 1] - at.days[day]) * part)

    def ticks(self, places: Floats) -> Floats:
        """The ticks (N,) at places on the stretched line."""
        at = _stretches(self)
        if at.days is None:
            period = np.floor(places)
            rest = places - period
        else:
            number, rest = _part(at.days, places)
            period = number + self.start
        part, rest = _part(at.parts, rest)
        edges = np.array(self.shape.edges)
        inside = np.floor(edges[part] + rest * (edges[part + 1] - edges[part]))
        return np.asarray(period * self.period + np.minimum(inside, edges[part + 1] - 1) - self.shift)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "period": self.period,
            "shift": self.shift,
            "edges": list(self.shape.edges),
            "shares": list(self.shape.shares),
            "calendar": self.calendar and self.calendar.to_json(),
            "first": self.first,
            "start": self.start,
            "days": self.days,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The rhythm that `to_json` wrote."""
        facts = {k: v for k, v in record.items() if k not in ("edges", "shares", "calendar")}
        shape = Shape(tuple(record["edges"]), tuple(record["shares"]))
        calendar = record["calendar"]
        return cls(shape=shape, calendar=calendar and Calendar.from_json(calendar), **facts)


class _Stretches(NamedTuple):
    """Where parts of a period, and periods, begin on the stretched line."""

    parts: Floats  # (J + 1,) from 0 to 1
    days: Floats | None  # (T + 1,)


@lru_cache(maxsize=256)
def _stretches(rhythm: Rhythm) -> _Stretches:
    parts = np.r_[0.0, np.cumsum(rhythm.shape.shares)]
    if rhythm.calendar is None:
        return _Stretches(parts / parts[-1], None)
    weights = rhythm.calendar.of(rhythm.first + rhythm.start + np.arange(rhythm.days))
    return _Stretches(parts / parts[-1], np.r_[0.0, np.cumsum(weights)])


def _part(starts: Floats, places: Floats) -> tuple[Counts, Floats]:
    """In which interval between starts (J + 1,) places lie (N,), never in an empty one, and how far along."""
    inside = np.clip(places, starts[0], np.nextafter(starts[-1], starts[0]))
    part = np.searchsorted(starts, inside, side="right") - 1
    return part, (inside - starts[part]) / (starts[part + 1] - starts[part])


def _of_a_day(inside: Counts, rows: Counts, period: int, shared: int) -> Shape:
    """Even parts of a day, as many as there are rows enough for, and ticks that many more rows share: midnight."""
    parts = next((n for n in _PARTS if n < period and rows.sum() >= _EACH * n), 1)
    edges = np.rint(np.linspace(0, period, parts + 1)).astype(np.int64)
    ticks, at = np.unique(inside, return_inverse=True)
    seen = _sums(at, rows, len(ticks))
    points = _points(ticks, seen, edges, shared)
    every = np.unique(np.concatenate([edges, points, points + 1]))
    part = np.searchsorted(every, ticks, side="right") - 1
    told = _told(_sums(part, seen, len(every) - 1), np.diff(every), shared)
    if not len(points) and not _uneven(told, told.sum() * np.diff(every) / period):
        return Shape((0, period), (1.0,))
    return Shape(tuple(every.tolist()), tuple((told / told.sum()).tolist()))


def _points(ticks: Counts, seen: Floats, edges: Counts, shared: int) -> Counts:
    """The ticks of a day that clearly more rows have than the others of their part."""
    part = np.searchsorted(edges, ticks, side="right") - 1
    even = _sums(part, seen, len(edges) - 1) / np.diff(edges)
    heavy = (seen >= 4 * shared) & (seen >= _POINT * even[part]) & (np.diff(edges)[part] > 1)
    return ticks[heavy][np.argsort(-seen[heavy], kind="stable")[:_POINTS]]


def _sums(place: Counts, rows: NDArray[Any], many: int) -> Floats:
    """Rows (N,) by place, of so many places."""
    return np.bincount(place, rows, many).astype(np.float64)


def _rhythmic(place: Counts, rows: Counts, period: int) -> bool:
    """Whether the last digits of numbers are clearly and much less even than those of a smooth distribution.

    Digits of whole periods: of these, a smooth distribution has all alike, but for what its ends add.
    """
    block = place // period
    whole = (block > block[0]) & (block < block[-1])
    if block[-1] - block[0] < 4 or rows[whole].sum() < _EACH:
        return False
    seen = _sums(place[whole] % period, rows[whole], period)
    ends = [rows[block == b].sum() for b in (block[0] + 1, block[0] + 2, block[-1] - 2, block[-1] - 1)]
    before, after = 2 * ends[0] - ends[1] - ends[3], 2 * ends[3] - ends[2] - ends[0]
    x = (np.arange(period) + 0.5) / period - 0.5
    due = (seen.sum() + np.maximum(-x, 0) * before + np.maximum(x, 0) * after) / period
    return _uneven(seen, np.maximum(due, 1e-9), _MUCH)


def _uneven(seen: Floats, due: Floats, much: float = 0.0) -> bool:
    """Whether counts (J,) clearly are not what was due: chi square."""
    square, degrees = float(((seen - due) ** 2 / due).sum()), len(seen) - 1
    return square > degrees + _CLEARLY * np.sqrt(2 * degrees) + much * seen.sum()


def _told(seen: Floats, width: NDArray[Any], shared: int) -> Floats:
    """Rows of each part (J,); those of parts that fewer than `shared` rows have, spread over all of these."""
    few = seen < shared
    even = seen[few].sum() * width / max(width[few].sum(), 1)
    return np.asarray(np.where(few, even, seen))
