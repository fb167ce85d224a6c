"""Constraints that hold by construction: differences, sums and products, and codes that go together.

N rows, C modelled columns, K codes of a column. What cannot be constructed (numbers in order, a sum that leaves the
range of its column) is told by `broken`, for the rows to be drawn again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabdar_pipeline.sampling.ties import Tie
from tabdar_pipeline.schemas.columns import Column, Kind
from tabdar_pipeline.schemas.constraints import (
    Arithmetic,
    Combination,
    Constraint,
    Dependency,
    Inequality,
    NullWhen,
    from_record,
    to_record,
)
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.schemas.types import arrow_type, as_floats

_OUTERMOST = 5  # rows

Arrays = dict[str, pa.Array]
Flags = NDArray[np.bool_]
Codes = NDArray[np.int64]
_BY_CODES = (Dependency, NullWhen, Combination)  # hold by barring codes


class Coded(Protocol):
    """The codec of a column, as far as ties need it."""

    @property
    def levels(self) -> int:
        """How many codes it has."""

    @property
    def missing(self) -> bool:
        """Whether the last of them is NULL."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The constraints that a model keeps, and how."""

    constraints: tuple[Constraint, ...] = ()
    gaps: Mapping[str, str] = field(default_factory=dict)  # a time, and the one that it is modelled from
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # of what follows from others
    ties: tuple[Tie, ...] = ()

    @classmethod
    def fit(
        cls,
        constraints: Sequence[Constraint],
        table: pa.Table,
        schema: TableSchema,
        alone: Sequence[str] = (),
    ) -> Self:
        """Choose the differences, and note the ranges; ties are learned later, from codes.

        Times that are to stand alone are never modelled by their distance: rows are drawn again where they must.
        """
        summed = {n: _values(table[n]) for c in constraints if isinstance(c, Arithmetic) for n in c.columns}
        ranges = {n: (float(np.nanmin(v)), float(np.nanmax(v))) for n, v in summed.items()}
        gaps = _gaps(constraints, table, schema, alone)
        return cls(tuple(constraints), gaps, ranges | {name: _ends(table[name]) for name in gaps})

    def learn_ties(
        self,
        schema: TableSchema,
        codecs: Sequence[Coded],
        codes: Callable[[int], Codes],
        shared: Sequence[int],
    ) -> "Rules":
        """The same, with the codes that occur together; -1 is unknown. Numbers that vary have no such rule.

        codes: of a column (N,). shared: of each column, how many rows must share a value before it is learned,
        or a combination of it.
        """
        place = {c.name: i for i, c in enumerate(schema.modelled)}
        kept, ties = list[Constraint](), list[Tie]()
        for constraint in self.constraints:
            if isinstance(constraint, _BY_CODES):
                columns = tuple(place.get(name, -1) for name in constraint.columns)
                tie = _tie(constraint, columns, codecs, codes, shared) if min(columns) >= 0 else None
                if tie is None:
                    continue
                ties.append(tie)
            kept.append(constraint)
        return replace(self, constraints=tuple(kept), ties=tuple(ties))

    def modelled(self, table: pa.Table, column: Column) -> pa.ChunkedArray:
        """What is modelled of a column: its values (N,), or their distance from another column's."""
        low = self.gaps.get(column.name)
        return table[column.name] if low is None else distance(table[low], table[column.name])

    def kind(self, column: Column) -> pa.DataType:
        """The type of what is modelled."""
        return pa.int64() if column.name in self.gaps else arrow_type(column.arrow_type)

    def restore(self, arrays: Arrays, schema: TableSchema, observed: Mapping[str, pa.Array]) -> Arrays:
        """Columns (N,) as the model drew them -> as the constraints have them. Observed cells stay.

        Distances become times again, and in every sum and product one cell that was not observed follows from the others.
        """
        found = {n: _first(observed.get(n), a) for n, a in arrays.items() if n not in self.gaps}
        for high in self.chain:
            self._count(high, found, arrays[high], schema[high], observed)
        sums = [c for c in self.constraints if isinstance(c, Arithmetic)]
        for constraint in sums * len(sums):  # a total may be a part of another total
            _settle(constraint, found, observed)
        return found

    def estimated(self, points: Arrays, schema: TableSchema, observed: Mapping[str, pa.Array]) -> Arrays:
        """Estimates (N,) of columns, each by itself: those of distances are added to what they count from."""
        found = dict(observed) | {
            n: _first(observed.get(n), a) for n, a in points.items() if n not in self.gaps
        }
        for high in self.chain:
            if high in points:
                self._count(high, found, points[high], schema[high], observed)
        return found

    def _count(
        self, high: str, found: Arrays, gap: pa.Array, column: Column, observed: Mapping[str, pa.Array]
    ) -> None:
        """A time from its distance; or, where the time alone was observed, the one that it counts from."""
        low, kind = self.gaps[high], arrow_type(column.arrow_type)
        if high in observed and low in observed:
            back = pc.and_(observed[high].is_valid(), observed[low].is_null())
            found[low] = pc.if_else(back, earlier(observed[high], gap), found[low])
        made = from_ticks(pc.add(_ticks(found[low]), gap), kind)
        found[high] = _first(observed.get(high), made)

    def asked(self, wanted: Flags, known: Flags, names: Sequence[str]) -> Flags:
        """(N, C) what must be drawn for wanted cells: whatever they are counted or summed from, and is not known."""
        place, found = {name: i for i, name in enumerate(names)}, wanted.copy()
        sums = [c.columns for c in self.constraints if isinstance(c, Arithmetic)]
        groups = [[place[n] for n in it if n in place] for it in (*self.gaps.items(), *sums)]
        for group in groups * len(groups):  # what is summed may be a part of another sum
            found[:, group] |= found[:, group].any(axis=1, keepdims=True) & ~known[:, group]
        return found

    @property
    def tied(self) -> tuple[str, ...]:
        """The columns of which constraints need what was observed."""
        return tuple(dict.fromkeys([*self.gaps.values(), *self.gaps, *self.ranges]))

    @property
    def chain(self) -> tuple[str, ...]:
        """The distances, each after what it counts from."""
        found: tuple[str, ...] = ()
        while len(found) < len(self.gaps):
            found += tuple(
                high
                for high, low in self.gaps.items()
                if high not in found and (low not in self.gaps or low in found)
            )
        return found

    def broken(self, table: pa.Table) -> Flags:
        """(N,) the rows that do not keep every constraint."""
        off = np.zeros(table.num_rows, bool)
        for constraint in self.constraints:
            if not isinstance(constraint, _BY_CODES):  # these hold by construction
                off |= constraint.broken(table)
        for name, (low, high) in self.ranges.items():
            values = _values(table[name])
            with np.errstate(invalid="ignore"):
                off |= (values < low) | (values > high)
        return off

    def to_json(self) -> dict[str, Any]:
        """Plain values; of ties the codes that go together."""
        return {
            "constraints": [to_record(c) for c in self.constraints],
            "gaps": dict(self.gaps),
            "ranges": {name: list(ends) for name, ends in self.ranges.items()},
            "ties": [
                {
                    "columns": list(tie.columns),
                    "codes": tie.codes.tolist(),
                    "leads": tie.leads,
                    "nulls": list(tie.nulls),
                }
                for tie in self.ties
            ],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The rules that `to_json` wrote."""
        return cls(
            tuple(from_record(r, "codec.json") for r in record["constraints"]),
            record["gaps"],
            {name: (low, high) for name, (low, high) in record["ranges"].items()},
            tuple(_tie_from_json(r) for r in _ties(record)),
        )


def told_by_values(constraints: Iterable[Constraint]) -> frozenset[str]:
    """The columns of which single values go with single values of others.

    >>> sorted(told_by_values([Dependency("zip", "city"), NullWhen("died", "alive", ("yes",))]))
    ['alive', 'city', 'zip']
    """
    tied = (c for c in constraints if isinstance(c, _BY_CODES))
    pairs = (zip(c.columns, _about_null(c), strict=True) for c in tied)
    return frozenset(name for it in pairs for name, null in it if not null)


def distance(low: pa.ChunkedArray, high: pa.ChunkedArray) -> pa.ChunkedArray:
    """High - low (N,) in units of their type, NULL where one is NULL.

    >>> times = [pa.chunked_array([pa.array(days, pa.date32())]) for days in ([1, None], [4, 5])]
    >>> distance(*times).to_pylist()
    [3, None]
    """
    return pc.subtract(_ticks(high), _ticks(low))


def from_ticks(ticks: pa.Array, kind: pa.DataType) -> pa.Array:
    """Integers (N,) as times of this type."""
    return (ticks.cast(pa.int32()) if kind.bit_width == 32 else ticks).cast(kind)


def earlier(late: pa.Array, gap: pa.Array) -> pa.Array:
    """The times (N,) from which late ones are so far apart."""
    return from_ticks(pc.subtract(_ticks(late), gap), late.type)


def _ticks(values: Any) -> Any:
    return (values.cast(pa.int32()) if values.type.bit_width == 32 else values).cast(pa.int64())


def _values(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """(N,) numbers, or times in units of their type; NaN where there is none."""
    if pa.types.is_temporal(column.type):
        column = _ticks(column)
    return np.asarray(as_floats(column).to_numpy(), np.float64)


def _ends(times: pa.ChunkedArray) -> tuple[float, float]:
    """Between which a time lies that follows from another: the means of the outermost rows, so that no one's own."""
    known = np.sort(_values(times.drop_null()))
    first, last = known[:_OUTERMOST], known[-_OUTERMOST:]
    return float(min(np.ceil(first.mean()), first[-1])), float(max(np.floor(last.mean()), last[0]))


def _first(observed: pa.Array | None, made: pa.Array) -> pa.Array:
    """What was observed, and what was made where nothing was."""
    return made if observed is None else pc.coalesce(observed.cast(made.type), made)


def _dense(codec: Coded) -> bool:
    return bool(np.any(getattr(codec, "continuous", False)))


def _tie(
    constraint: Dependency | NullWhen | Combination,
    columns: tuple[int, ...],
    codecs: Sequence[Coded],
    codes: Callable[[int], Codes],
    shared: Sequence[int],
) -> Tie | None:
    """What occurs together in the codes of columns, each (N,); none where values count and a column's vary without end.

    A combination that fewer rows share than must share a value is not learned, as a level is not.
    """
    about = _about_null(constraint)
    nulls = tuple(_null(codecs[c]) if null else -1 for c, null in zip(columns, about, strict=True))
    if any(null < 0 and _dense(codecs[c]) for c, null in zip(columns, nulls, strict=True)):
        return None
    cells = np.stack([codes(c) for c in columns], axis=1).astype(np.int64)
    cells = cells[(cells >= 0).all(axis=1)]
    for place, null in enumerate(nulls):
        if null >= 0:
            cells[:, place] = cells[:, place] == null
    found, rows = np.unique(cells, axis=0, return_counts=True)
    if isinstance(constraint, Combination) and len(rows):
        found = found[rows >= min(max(shared[c] for c in columns), rows.max())]
    if isinstance(constraint, Dependency):
        found = _usual(found, rows, [_null(codecs[c]) for c in columns])
    return Tie(columns, found, not isinstance(constraint, Combination), nulls)


def _usual(pairs: Codes, rows: Codes, null: Sequence[int]) -> Codes:
    """Of pairs (M, 2) the one that most rows (M,) have, for each first code; and all that say nothing: with NULL."""
    apart = (pairs == null).any(axis=1)
    order = np.lexsort([-rows, pairs[:, 0], apart])
    sorted_, silent = pairs[order], apart[order]
    first = np.r_[True, sorted_[1:, 0] != sorted_[:-1, 0]][: len(pairs)]
    return sorted_[first | silent]


def _null(codec: Coded) -> int:
    """The code of NULL, or one that no cell has."""
    return codec.levels - 1 if codec.missing else codec.levels


def _about_null(constraint: Dependency | NullWhen | Combination) -> tuple[bool, ...]:
    """Of which of its columns it only counts whether they are NULL."""
    if isinstance(constraint, NullWhen):
        return False, True
    return (isinstance(constraint, Combination) and constraint.of == "nulls",) * len(constraint.columns)


def _ties(record: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """The records of ties; of pairs, as they were written before there were more columns."""
    if "pairs" not in record:
        return record["ties"]
    pairs = ((r, [r["on"], r["column"]]) for r in record["pairs"])
    return [{"columns": columns, "codes": r["codes"], "leads": True, "nulls": []} for r, columns in pairs]


def _tie_from_json(record: Mapping[str, Any]) -> Tie:
    columns = tuple(record["columns"])
    codes = np.array(record["codes"], np.int64).reshape(-1, len(columns))
    return Tie(columns, codes, record["leads"], tuple(record["nulls"]))


def _gaps(
    constraints: Sequence[Constraint], table: pa.Table, schema: TableSchema, alone: Sequence[str]
) -> dict[str, str]:
    """Each time that is never before another, and the nearest such one."""
    near: dict[str, tuple[float, str]] = {}
    for constraint in constraints:
        if not isinstance(constraint, Inequality) or constraint.high in alone:
            continue
        low, high = (schema[name] for name in constraint.columns)
        if not low.kind is high.kind is Kind.DATETIME or low.arrow_type != high.arrow_type:
            continue
        gap = distance(table[low.name], table[high.name])
        first = pc.min(gap).as_py()
        if first is None or first < constraint.strict or gap.null_count > table[high.name].null_count:
            continue  # some row breaks it, or has the time and not the one that it counts from
        near[high.name] = min(near.get(high.name, (np.inf, "")), (float(pc.mean(gap).as_py()), low.name))
    return {high: low for high, (_, low) in near.items()}


def _settle(rule: Arithmetic, arrays: Arrays, observed: Mapping[str, pa.Array]) -> None:
    """Let one cell a row, the total or else a part that was not observed, follow from the others."""
    values = {name: _values(pa.chunked_array([arrays[name]])) for name in rule.columns}
    pending = np.logical_and.reduce([_valid(arrays[name]) for name in rule.columns])
    for name in rule.columns:
        due = rule.due(name, values)
        free = pending & np.isfinite(due)
        if name in observed:
            free &= ~_valid(observed[name])
        if free.any():
            arrays[name] = _replaced(arrays[name], due, free)
        pending = pending & ~free


def _valid(array: pa.Array) -> Flags:
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False))


def _replaced(array: pa.Array, due: NDArray[np.float64], free: Flags) -> pa.Array:
    """The column with these cells, in its own type."""
    kind = array.type
    if pa.types.is_decimal(kind):
        texts = [f"{value:.{kind.scale}f}" if here else None for value, here in zip(due, free, strict=True)]
        made = pa.array(texts, pa.string()).cast(kind)
    else:
        whole = np.rint(due) if pa.types.is_integer(kind) else due
        made = pa.array(np.where(free, whole, 0), mask=~free).cast(kind, safe=False)
    return pc.if_else(pa.array(free), made, array)
