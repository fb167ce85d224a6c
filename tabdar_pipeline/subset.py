"""Which values of one column satisfy what is said of it, as what the column may be drawn as.

Places stand for values: ticks of numbers and times, codes of categories.
"""

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabdar_pipeline.codec.category import CategoryCodec
from tabdar_pipeline.codec.number import NumberCodec, Parts
from tabdar_pipeline.errors import ConditionError
from tabdar_pipeline.predicates import Clause, Either, Predicate
from tabdar_pipeline.sampling.limits import Limit
from tabdar_pipeline.schemas.columns import Column
from tabdar_pipeline.schemas.types import arrow_type, from_text

SHOWN = 8  # levels that a message lists

Interval = tuple[float, float]  # of places, both ends included


@dataclass(frozen=True, slots=True)
class Subset:
    """A part of one column's values.

    >>> Subset(((1, 3), (5, 9))).meet(Subset(((2, 6),), null=True))
    Subset(intervals=((2, 3), (5, 6)), null=False)
    """

    intervals: tuple[Interval, ...] = ()  # ascending, and apart
    null: bool = False  # whether NULL is one of them

    def meet(self, other: "Subset") -> "Subset":
        """What both have."""
        met = [(max(a, c), min(b, d)) for a, b in self.intervals for c, d in other.intervals]
        return Subset(tuple(sorted(it for it in met if it[0] <= it[1])), self.null and other.null)

    def join(self, other: "Subset") -> "Subset":
        """What either has.

        >>> Subset(((1, 3),)).join(Subset(((2, 6), (8, 8)), null=True))
        Subset(intervals=((1, 6), (8, 8)), null=True)
        """
        joined = list[Interval]()
        for low, high in sorted(self.intervals + other.intervals):
            if joined and low <= joined[-1][1]:
                joined[-1] = joined[-1][0], max(high, joined[-1][1])
            else:
                joined.append((low, high))
        return Subset(tuple(joined), self.null or other.null)


ALL = Subset(((-math.inf, math.inf),), null=True)


def resolve_column(
    codec: NumberCodec | CategoryCodec, column: Column, clauses: Sequence[Clause], table: str
) -> Limit | str | None:
    """The one value that is left (None is NULL), or the limit; raises ConditionError where nothing is left."""
    refused = _Refused(table, column, tuple(clauses))
    if isinstance(codec, CategoryCodec):
        return _levels(codec, refused)
    return _numbers(codec, refused)


@dataclass(frozen=True, slots=True)
class _Refused:
    """What is asked of a column, and the error where nothing satisfies it."""

    table: str
    column: Column
    clauses: tuple[Clause, ...]

    def because(self, fact: str) -> ConditionError:
        """The error."""
        said = " AND ".join(map(str, self.clauses))
        return ConditionError(
            f"table {self.table!r}, column {self.column.name!r}: some row must be able to satisfy {said}, "
            f"however {fact}. Change the condition."
        )

    def values(self, predicate: Predicate) -> list[Any]:
        """The predicate's values, in the column's type."""
        try:
            return list(from_text(predicate.values, arrow_type(self.column.arrow_type)).to_pylist())
        except (ValueError, pa.ArrowException) as error:
            raise self.no_value(predicate) from error

    def no_value(self, predicate: Predicate) -> ConditionError:
        """The error where a value is of another type."""
        said = ", ".join(map(repr, predicate.values))
        return self.because(f"{said} is no {self.column.sql_type}")

    @property
    def predicates(self) -> tuple[Predicate, ...]:
        """All comparisons in it."""
        return tuple(_leaves(self.clauses))


def _leaves(clauses: Iterable[Clause]) -> Iterable[Predicate]:
    for clause in clauses:
        if isinstance(clause, Either):
            for option in clause.options:
                yield from _leaves(option)
        else:
            yield clause


def _subset(clauses: Sequence[Clause], of: Callable[[Predicate], Subset]) -> Subset:
    """What satisfies all of them."""
    return reduce(Subset.meet, (_either(it, of) if isinstance(it, Either) else of(it) for it in clauses), ALL)


def _either(clause: Either, of: Callable[[Predicate], Subset]) -> Subset:
    return reduce(Subset.join, (_subset(option, of) for option in clause.options))


def _levels(codec: CategoryCodec, refused: _Refused) -> Limit | str | None:
    levels = from_text(codec.vocabulary, arrow_type(refused.column.arrow_type))
    found = _subset(refused.clauses, lambda predicate: _of_levels(predicate, levels, refused))
    chosen = np.zeros(len(levels), bool)
    for low, high in found.intervals:
        chosen[int(max(low, 0)) : int(min(high, len(levels))) + 1] = True
    kept = np.flatnonzero(chosen).tolist()
    null = found.null and codec.missing
    if not kept and not null:
        raise refused.because(_why_no_level(codec, levels, found, refused))
    if len(kept) + null == 1:
        return codec.vocabulary[kept[0]] if kept else None
    return Limit.of_codes(np.array([*kept, *[codec.levels - 1] * null]))


def _of_levels(predicate: Predicate, levels: pa.Array, refused: _Refused) -> Subset:
    if predicate.operator.endswith("like"):
        holds = _alike(predicate, levels, refused)
    else:
        holds = _compared(predicate.operator, levels.to_pylist(), refused.values(predicate))
    edges = np.flatnonzero(
        np.diff(np.r_[False, holds, False].astype(np.int8))
    )  # where runs of levels begin and end
    runs = zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)
    return Subset(tuple(runs), predicate.operator == "null")


def _compared(operator_: str, levels: list[Any], values: list[Any]) -> list[bool]:
    match operator_:
        case "null" | "not null":
            return [operator_ == "not null"] * len(levels)
        case "=" | "in":
            return [level in values for level in levels]
        case "<>" | "not in":
            return [level not in values for level in levels]
    holds = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}[operator_]
    return [bool(holds(level, values[0])) for level in levels]


def _alike(predicate: Predicate, levels: pa.Array, refused: _Refused) -> list[bool]:
    plain = levels.dictionary_decode() if pa.types.is_dictionary(levels.type) else levels
    if not pa.types.is_string(plain.type) and not pa.types.is_large_string(plain.type):
        raise refused.because(f"LIKE compares texts, and it is a {refused.column.sql_type}")
    pattern = predicate.values[0].replace("\\", "\\\\")  # an escape in Arrow, not in DuckDB
    found = pc.match_like(plain, pattern, ignore_case=predicate.operator.endswith("ilike"))
    return [bool(it) is not predicate.operator.startswith("not") for it in found.to_pylist()]


def _why_no_level(codec: CategoryCodec, levels: pa.Array, found: Subset, refused: _Refused) -> str:
    if found.null:
        return "it is never NULL"
    asked = refused.predicates
    if any(p.operator == "null" for p in asked):
        return "they contradict each other"
    equal = [p for p in asked if p.operator in ("=", "in")]
    unseen = [
        t
        for p in equal
        for t, v in zip(p.values, refused.values(p), strict=True)
        if v not in levels.to_pylist()
    ]
    some = ", ".join(map(repr, codec.vocabulary[:SHOWN])) or "only NULL"
    more = " and others" if len(codec.vocabulary) > SHOWN else ""
    return f"{unseen[0]!r} was never seen, but {some}{more}" if unseen else "no level satisfies them"


def _numbers(codec: NumberCodec, refused: _Refused) -> Limit | str | None:
    found = _subset(refused.clauses, lambda predicate: _of_ticks(predicate, codec, refused))
    null = found.null and codec.missing
    parts = [codec.within(*_open(interval, codec.ends)) for interval in found.intervals]
    if not all(codec.tells(part, *ends) for part, ends in zip(parts, found.intervals, strict=True)):
        raise refused.because("values that lie so near to each other cannot be told apart by the model")
    if null:
        whole = np.full(1, np.inf)
        parts.append(Parts(np.array([codec.levels - 1]), -whole, whole))
    if not any(len(part.codes) for part in parts):
        raise refused.because(_why_no_number(codec, found, refused))
    if len(parts) == 1:
        if null:
            return None
        low, high = found.intervals[0]
        if low == high:
            return str(_value(codec, refused.column, low))
    codes, lows, highs = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Limit(codes, lows, highs)


def _open(interval: Interval, ends: Interval) -> Interval:
    """The same values, without an end where none lies beyond."""
    (low, high), (first, last) = interval, ends
    return -math.inf if low < first else low, math.inf if high > last else high


def _of_ticks(predicate: Predicate, codec: NumberCodec, refused: _Refused) -> Subset:
    kind = arrow_type(refused.column.arrow_type)
    if predicate.operator.endswith("like"):
        raise refused.because(f"LIKE compares texts, and it is a {refused.column.sql_type}")
    try:
        ticks = [codec.line.tick(value, kind) for value in predicate.values]
    except (ValueError, OverflowError, pa.ArrowException) as error:
        raise refused.no_value(predicate) from error
    if any(map(math.isnan, ticks)):
        raise refused.because("NaN has no place among the values that can be compared")
    return Subset(
        tuple(_satisfying(predicate.operator, ticks, grid=codec.line.grid)), predicate.operator == "null"
    )


def _satisfying(operator_: str, ticks: list[float], *, grid: bool) -> list[Interval]:
    """The intervals of ticks that satisfy one predicate; on a grid they end at whole ticks."""
    points = sorted(t for t in ticks if not grid or t == round(t))
    match operator_:
        case "null":
            return []
        case "=" | "in":
            return [(t, t) for t in dict.fromkeys(points)]
        case "<>" | "not in":
            ends = [_neighbours(t, grid=grid) for t in points]
            lows = [-math.inf, *(above for _, above in ends)]
            highs = [*(below for below, _ in ends), math.inf]
            return [(a, b) for a, b in zip(lows, highs, strict=True) if a <= b]
        case "<":
            return [(-math.inf, _neighbours(ticks[0], grid=grid)[0])]
        case "<=":
            return [(-math.inf, math.floor(ticks[0]) if grid else ticks[0])]
        case ">":
            return [(_neighbours(ticks[0], grid=grid)[1], math.inf)]
        case ">=":
            return [(math.ceil(ticks[0]) if grid else ticks[0], math.inf)]
    return [(-math.inf, math.inf)]  # not null


def _neighbours(tick: float, *, grid: bool) -> Interval:
    """The last tick below this one, and the first above."""
    if grid:
        return math.ceil(tick) - 1, math.floor(tick) + 1
    return math.nextafter(tick, -math.inf), math.nextafter(tick, math.inf)


def _why_no_number(codec: NumberCodec, found: Subset, refused: _Refused) -> str:
    if found.null:
        return "it is never NULL"
    asked, (first, last) = refused.predicates, codec.ends
    if found.intervals:
        ends = (_value(codec, refused.column, tick) for tick in (first, last))
        return "values lie between {} and {}".format(*ends)
    if any(p.operator == "null" for p in asked):
        return "they contradict each other"
    if not codec.line.grid or first == last:
        return "they leave nothing"
    tick = codec.line.tick(next(v for p in asked for v in p.values), arrow_type(refused.column.arrow_type))
    below = min(max(math.floor(tick), first), last - 1)
    beside = (_value(codec, refused.column, it) for it in (below, below + 1))
    return "they leave nothing: values come in steps, such as {} and {}".format(*beside)


def _value(codec: NumberCodec, column: Column, tick: float) -> Any:
    return codec.line.column(np.array([tick]), arrow_type(column.arrow_type))[0].as_py()
