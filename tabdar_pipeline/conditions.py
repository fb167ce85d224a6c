"""What drawn rows must satisfy: predicates, resolved to cells that are given and to limits.

`income = '>50K' AND age BETWEEN 30 AND 40` gives the cell of income and limits the column age.
Given cells are visible from the start; limited columns are drawn next, inside their limits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline.codec.category import CategoryCodec
from tabdar_pipeline.codec.number import NumberCodec
from tabdar_pipeline.codec.table import TableCodec, encode_column
from tabdar_pipeline.errors import ConditionError
from tabdar_pipeline.predicates import Predicate
from tabdar_pipeline.sampling.limits import Limit
from tabdar_pipeline.sampling.ties import Tie
from tabdar_pipeline.schemas.columns import Column
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.schemas.types import arrow_type, from_text

SHOWN = 8  # levels that a message lists


@dataclass(frozen=True, slots=True)
class Given:
    """One column's cells, given before anything is drawn: V values, and which of them each row has."""

    column: int  # among the modelled ones
    values: pa.Array  # (V,)
    codes: NDArray[np.int64]  # (V,)
    residuals: NDArray[np.float64]  # (V,)
    shares: tuple[float, ...]  # (V,) of the rows

    def of_rows(self, rows: int, seed: int) -> NDArray[np.intp]:
        """Which value each row has, (rows,): exact counts, shuffled."""
        exact = np.array(self.shares) * rows
        counts = np.floor(exact + 1e-9).astype(int)
        counts[np.argsort(counts - exact, kind="stable")[: rows - counts.sum()]] += 1
        rng = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 2, self.column]))
        return rng.permutation(np.repeat(np.arange(len(counts)), counts))


@dataclass(frozen=True, slots=True)
class Conditions:
    """What every drawn row satisfies."""

    given: tuple[Given, ...] = ()
    limits: Mapping[int, Limit] = field(default_factory=dict)
    ties: tuple[Tie, ...] = ()  # what still goes together; those of the codec where there are none


def resolve(
    codec: TableCodec,
    schema: TableSchema,
    predicates: Sequence[Predicate] = (),
    balance: Mapping[str, Mapping[Any, float]] | None = None,
) -> Conditions:
    """Conditions as cells and limits; raises ConditionError where no row can satisfy them."""
    given, limits = [], {}
    for name in [*dict.fromkeys(p.column for p in predicates), *(balance or {})]:
        if name in codec.rules.gaps:
            raise ConditionError(
                f"table {schema.name!r}, column {name!r}: a condition needs a column that is modelled by itself, "
                f"however it is modelled by its distance from {codec.rules.gaps[name]!r}. Give a condition on that "
                "one, or fit without the constraint that ties them."
            )
    for name in dict.fromkeys(p.column for p in predicates):
        place = _modelled(schema, name)
        mine = [p for p in predicates if p.column == name]
        found = _resolve_column(codec.columns[place], schema.modelled[place], mine)
        if isinstance(found, Limit):
            limits[place] = found
        else:
            given.append(_given(codec, schema, place, [found], (1.0,)))
    for name, shares in (balance or {}).items():
        place = _modelled(schema, name)
        if any(g.column == place for g in given) or place in limits:
            raise ConditionError(
                f"column {name!r} must be balanced or conditioned, however it is both. Drop one of the two."
            )
        total = math.fsum(shares.values())
        if not shares or min(shares.values()) < 0 or not total > 0:
            raise ConditionError(
                f"the shares of column {name!r} must be positive, however: {dict(shares)}. Correct them."
            )
        values = [None if v is None else _text(v) for v in shares]
        for value in values:
            _resolve_column(codec.columns[place], schema.modelled[place], [_equal(name, value)])
        given.append(_given(codec, schema, place, values, tuple(s / total for s in shares.values())))
    return Conditions(tuple(given), limits, _tied(codec, schema, given, limits))


def _tied(
    codec: TableCodec, schema: TableSchema, given: Sequence[Given], limits: Mapping[int, Limit]
) -> tuple[Tie, ...]:
    """What still goes together under conditions; refused where a value that is asked for goes with nothing."""
    kept = {g.column: g.codes for g in given} | {c: limit.codes for c, limit in limits.items()}
    for tie in (it for it in codec.rules.ties if len(it.codes)):
        asked = [{g.column: g.codes[i : i + 1]} for g in given for i in range(len(g.codes))]
        if any(not len(tie.within(kept | one).codes) for one in [{}, *asked]):
            names = ", ".join(repr(schema.modelled[c].name) for c in tie.columns if c in kept)
            raise ConditionError(
                f"table {schema.name!r}, columns {names}: conditions must be met together in some row that was "
                "learned, however none holds such values together. Change one of them."
            )
    return tuple(tie.within(kept) for tie in codec.rules.ties)


def _modelled(schema: TableSchema, name: str) -> int:
    """The place of a column among the modelled ones."""
    for place, column in enumerate(schema.modelled):
        if column.name == name:
            return place
    known = {c.name: c.kind for c in schema.columns}
    fact = f"it is a {known[name]}, made anew" if name in known else "there is none of this name"
    raise ConditionError(
        f"table {schema.name!r}, column {name!r}: a condition needs a column that is modelled, however "
        f"{fact}. Choose among {', '.join(repr(c.name) for c in schema.modelled)}."
    )


def _given(
    codec: TableCodec,
    schema: TableSchema,
    place: int,
    values: Sequence[str | None],
    shares: tuple[float, ...],
) -> Given:
    array = from_text(values, arrow_type(schema.modelled[place].arrow_type))
    cells = encode_column(codec.columns[place], array)
    return Given(place, array, cells.codes, np.asarray(cells.residuals), shares)


def _equal(name: str, value: str | None) -> Predicate:
    return Predicate(name, "null") if value is None else Predicate(name, "=", (value,))


def _resolve_column(
    codec: NumberCodec | CategoryCodec, column: Column, predicates: Sequence[Predicate]
) -> Limit | str | None:
    """The one value that is left (None is NULL), or the limit."""
    nulls = all(p.operator in ("null", "not null") for p in predicates)
    nulls = nulls and not any(p.operator == "not null" for p in predicates)
    if nulls:
        if not codec.missing:
            raise _refused(column, predicates, "it is never NULL")
        return None
    if any(p.operator == "null" for p in predicates):
        raise _refused(column, predicates, "they contradict each other")
    if isinstance(codec, CategoryCodec):
        return _levels(codec, column, predicates)
    return _range(codec, column, predicates)


def _levels(codec: CategoryCodec, column: Column, predicates: Sequence[Predicate]) -> Limit | str:
    for predicate in predicates:
        unseen = [v for v in predicate.values if v not in codec.vocabulary]
        if unseen and predicate.operator in ("=", "<>", "in", "not in"):
            some = ", ".join(map(repr, codec.vocabulary[:SHOWN]))
            more = " and others" if len(codec.vocabulary) > SHOWN else ""
            raise _refused(column, predicates, f"{unseen[0]!r} was never seen, but {some}{more}")
    kept = [i for i, level in enumerate(codec.vocabulary) if all(_holds(p, level) for p in predicates)]
    if not kept:
        raise _refused(column, predicates, "no level satisfies them")
    return codec.vocabulary[kept[0]] if len(kept) == 1 else Limit.of_codes(np.array(kept))


def _holds(predicate: Predicate, level: str) -> bool:
    values = predicate.values
    match predicate.operator:
        case "=" | "in":
            return level in values
        case "<>" | "not in":
            return level not in values
        case "<":
            return level < values[0]
        case "<=":
            return level <= values[0]
        case ">":
            return level > values[0]
        case ">=":
            return level >= values[0]
    return True  # not null


Interval = tuple[float, float]  # of ticks, both ends included


def _range(codec: NumberCodec, column: Column, predicates: Sequence[Predicate]) -> Limit | str:
    kind, intervals = arrow_type(column.arrow_type), [(-math.inf, math.inf)]
    for predicate in predicates:
        try:
            ticks = [codec.line.tick(value, kind) for value in predicate.values]
        except (ValueError, pa.ArrowException) as error:
            raise _refused(column, predicates, f"{predicate.values[0]!r} is no {column.sql_type}") from error
        intervals = _meet(intervals, _satisfying(predicate.operator, ticks, grid=codec.line.grid))
    if not intervals:
        raise _refused(column, predicates, "they leave nothing")
    parts = [codec.within(low, high) for low, high in intervals]
    codes, lows, highs = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if not len(codes):
        seen = codec.line.column(np.array(codec.ends), kind).to_pylist()
        raise _refused(column, predicates, f"values lie between {seen[0]} and {seen[1]}")
    if len(intervals) == 1 and intervals[0][0] == intervals[0][1]:
        return str(codec.line.column(np.array(intervals[0]), kind)[0].as_py())
    return Limit(codes, lows, highs)


def _satisfying(operator: str, ticks: list[float], *, grid: bool) -> list[Interval]:
    """The intervals of ticks that satisfy one predicate; on a grid they end at whole ticks."""
    points = sorted(t for t in ticks if not grid or t == round(t))
    match operator:
        case "=" | "in":
            return [(t, t) for t in points]
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


def _meet(these: list[Interval], those: list[Interval]) -> list[Interval]:
    """What both have."""
    met = [(max(a, c), min(b, d)) for a, b in these for c, d in those]
    return sorted((low, high) for low, high in met if low <= high)


def _refused(column: Column, predicates: Sequence[Predicate], fact: str) -> ConditionError:
    said = " AND ".join(f"{p.operator} {', '.join(p.values)}".strip() for p in predicates)
    return ConditionError(
        f"column {column.name!r}: some row must be able to satisfy {said!r}, however {fact}. "
        "Change the condition."
    )


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
