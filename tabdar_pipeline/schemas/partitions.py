"""Partitions of a table by one of its columns: listed values, or windows of time."""

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from tabdar_pipeline.schemas.constraints import plain
from tabdar_pipeline.schemas.types import from_text

Every = Literal["day", "week", "month"]
_DAYS = {"day": 1, "week": 7}


@dataclass(frozen=True, slots=True)
class Part:
    """One partition: the rows of a value, or of a window of time."""

    column: str
    key: str  # the value; or the first day of the window
    end: str | None = None  # the first day after the window; None for a value

    def of(self, table: pa.Table) -> pa.Table:
        """Its rows of a table.

        >>> days = pa.table({"day": pa.array([dt.date(2024, 1, 31), dt.date(2024, 2, 1)])})
        >>> Part("day", "2024-01-01", "2024-02-01").of(days).num_rows
        1
        """
        cells = plain(table[self.column])
        texts = [self.key] if self.end is None else [self.key, self.end]
        ends = from_text(texts, cells.type)
        if self.end is None:
            return table.filter(pc.equal(cells, ends[0]))
        return table.filter(pc.and_(pc.greater_equal(cells, ends[0]), pc.less(cells, ends[1])))


@dataclass(frozen=True, slots=True)
class Partitioning:
    """How a table is parted, and whether one model learns all of it."""

    column: str
    values: tuple[str, ...] = ()
    every: Every | None = None  # of time; None where values are listed
    start: dt.date = dt.date.min  # of the first window
    each: bool = False  # a model each, in the place of one that is conditioned on the column

    @property
    def by(self) -> str:
        """For people and manifests.

        >>> Partitioning("joined", every="month").by
        'joined by month'
        """
        return self.column if self.every is None else f"{self.column} by {self.every}"

    def part(self, key: str) -> Part:
        """The partition of a key.

        >>> Partitioning("joined", every="month").part("2024-12-01").end
        '2025-01-01'
        """
        if self.every is None:
            return Part(self.column, key)
        return Part(self.column, key, _next(dt.date.fromisoformat(key), self.every).isoformat())

    def has(self, key: str) -> bool:
        """Whether a key is of one of its partitions.

        >>> monthly = Partitioning("joined", every="month", start=dt.date(2024, 1, 1))
        >>> [monthly.has(key) for key in ("2024-02-01", "2024-02-02", "2023-12-01", "north")]
        [True, False, False, False]
        """
        if self.every is None:
            return key in self.values
        try:
            day = dt.date.fromisoformat(key)
        except ValueError:
            return False
        return day >= self.start and day == _window(day, self.start, self.every)

    def counts(self, table: pa.Table) -> dict[str, int]:
        """How many rows each partition has, in order; those without rows are left out."""
        known = plain(table[self.column]).drop_null()
        if self.every is None:
            values = from_text(self.values, known.type)
            rows = [pc.sum(pc.equal(known, value)).as_py() or 0 for value in values]
            return {key: int(many) for key, many in zip(self.values, rows, strict=True) if many}
        windows: Counter[str] = Counter()
        for pair in known.cast(pa.date32()).value_counts().to_pylist():
            if pair["values"] >= self.start:
                windows[_window(pair["values"], self.start, self.every).isoformat()] += pair["counts"]
        return dict(sorted(windows.items()))

    def place(self, key: str) -> int:
        """The number of a partition: among the values, or of windows since the start.

        >>> Partitioning("joined", every="week", start=dt.date(2024, 1, 1)).place("2024-01-15")
        2
        """
        if self.every is None:
            return self.values.index(key)
        first, day = self.start, dt.date.fromisoformat(key)
        if self.every == "month":
            return 12 * (day.year - first.year) + day.month - first.month
        return (day - first).days // _DAYS[self.every]


def _window(day: dt.date, start: dt.date, every: Every) -> dt.date:
    """The first day of the window that holds a day."""
    if every == "month":
        return day.replace(day=1)
    return day - dt.timedelta(days=(day - start).days % _DAYS[every])


def _next(day: dt.date, every: Every) -> dt.date:
    """The first day after the window that begins with this one."""
    if every == "month":
        return (day.replace(day=1) + dt.timedelta(days=31)).replace(day=1)
    return day + dt.timedelta(days=_DAYS[every])
