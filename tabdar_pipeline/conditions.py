"""What drawn rows must satisfy: predicates, resolved to cells that are given and to limits.

`income = '>50K' AND age BETWEEN 30 AND 40` gives the cell of income and limits the column age.
Given cells are visible from the start; limited columns are drawn next, inside their limits.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline.codec.category import CategoryCodec
from tabdar_pipeline.codec.constant import ConstantCodec
from tabdar_pipeline.codec.table import TableCodec, encode_column
from tabdar_pipeline.errors import ConditionError
from tabdar_pipeline.predicates import Clause, Predicate, column_named
from tabdar_pipeline.sampling.limits import Limit
from tabdar_pipeline.sampling.ties import Tie
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.schemas.types import arrow_type, from_text
from tabdar_pipeline.subset import resolve_column


@dataclass(frozen=True, slots=True)
class Given:
    """One column's cells, given before anything is drawn: V values, and which of them each row has."""

    column: int  # among the modelled ones
    values: pa.Array  # (V,)
    codes: NDArray[np.int64]  # (V,)
    residuals: NDArray[np.float64]  # (V,)
    shares: tuple[float, ...]  # (V,) of the rows

    def counts(self, rows: int) -> NDArray[np.intp]:
        """How many of so many rows have each value, (V,)."""
        exact = np.array(self.shares) * rows
        counts = np.floor(exact + 1e-9).astype(int)
        counts[np.argsort(counts - exact, kind="stable")[: rows - counts.sum()]] += 1
        return counts

    def of_rows(self, rows: int, seed: int) -> NDArray[np.intp]:
        """Which value each row has, (rows,): exact counts, shuffled."""
        counts = self.counts(rows)
        rng = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 2, self.column]))
        return rng.permutation(np.repeat(np.arange(len(counts)), counts))


@dataclass(frozen=True, slots=True)
class Stratum:
    """Rows that share the value of a balanced column."""

    column: str
    value: str | None  # as text; None is NULL
    rows: int


@dataclass(frozen=True, slots=True)
class Conditions:
    """What every drawn row satisfies."""

    given: tuple[Given, ...] = ()
    limits: Mapping[int, Limit] = field(default_factory=dict)
    ties: tuple[Tie, ...] = ()  # what still goes together; those of the codec where there are none

    def strata(self, schema: TableSchema, rows: int) -> tuple[Stratum, ...]:
        """How many of so many rows have each value of each balanced column."""
        return tuple(
            Stratum(schema.modelled[it.column].name, None if value is None else _text(value), int(count))
            for it in self.given
            for value, count in zip(it.values.to_pylist(), it.counts(rows), strict=True)
            if len(it.values) > 1
        )


def resolve(
    codec: TableCodec,
    schema: TableSchema,
    clauses: Sequence[Clause] = (),
    balance: Mapping[str, Mapping[Any, float]] | None = None,
) -> Conditions:
    """Conditions as cells and limits; raises ConditionError where no row can satisfy them."""
    given, limits = list[Given](), dict[int, Limit]()
    names = [*dict.fromkeys(clause.column for clause in clauses)]
    balanced = [column_named(name, schema) for name in balance or {}]
    _refuse_twice(names, balanced, schema)
    _refuse_gaps(codec, schema, [*names, *balanced])
    for name in names:
        mine = [clause for clause in clauses if clause.column == name]
        constant = _constant(codec, name)
        if constant is not None:
            resolve_column(constant, schema[name], mine, schema.name)
            continue
        place = _modelled(schema, name)
        found = resolve_column(codec.columns[place], schema.modelled[place], mine, schema.name)
        if isinstance(found, Limit):
            limits[place] = found
        else:
            given.append(_given(codec, schema, place, [found], (1.0,)))
    for name, shares in zip(balanced, (balance or {}).values(), strict=True):
        given.append(_balanced(codec, schema, name, shares))
    return Conditions(tuple(given), limits, _tied(codec, schema, given, limits))


def _refuse_twice(names: Sequence[str], balanced: Sequence[str], schema: TableSchema) -> None:
    for name in balanced:
        if name in names or balanced.count(name) > 1:
            twice = "both" if name in names else "balanced twice"
            raise ConditionError(
                f"table {schema.name!r}, column {name!r}: it must be balanced or conditioned, however it is {twice}. "
                "Drop one of the two."
            )


def _refuse_gaps(codec: TableCodec, schema: TableSchema, names: Sequence[str]) -> None:
    for name in names:
        if name in codec.rules.gaps:
            raise ConditionError(
                f"table {schema.name!r}, column {name!r}: a condition needs a column that is modelled by itself, "
                f"however it is modelled by its distance from {codec.rules.gaps[name]!r}. Give a condition on that "
                f"one, or let it stand alone: `tabdar fit --alone {name}`, or TabDAR.fit(..., alone=[{name!r}])."
            )


def _constant(codec: TableCodec, name: str) -> CategoryCodec | None:
    """The one value of a column that has no other."""
    made = codec.made.get(name)
    if not isinstance(made, ConstantCodec):
        return None
    return CategoryCodec(() if made.value is None else (made.value,), missing=made.value is None)


def _balanced(codec: TableCodec, schema: TableSchema, name: str, shares: Mapping[Any, float]) -> Given:
    """Cells of a column whose values have shares of the rows."""
    place = _modelled(schema, name)
    plain = isinstance(shares, Mapping) and all(map(_is_share, shares.values()))
    if not plain or not any(shares.values()):
        raise ConditionError(
            f"table {schema.name!r}, column {name!r}: each value must have a share, a number from 0 up, and one of "
            f"them above 0, however: {shares}. Correct the shares."
        )
    values = list[str | None]()
    for value in shares:
        equal = Predicate(name, "null") if value is None else Predicate(name, "=", (_text(value),))
        found = resolve_column(codec.columns[place], schema.modelled[place], [equal], schema.name)
        if isinstance(found, Limit) or found in values:
            raise ConditionError(
                f"table {schema.name!r}, column {name!r}: each share must be of another value, however {value!r} "
                "is there twice. Add the two up."
            )
        values.append(found)
    parts = [float(share / max(shares.values())) for share in shares.values()]
    return _given(codec, schema, place, values, tuple(part / sum(parts) for part in parts))


def _is_share(share: object) -> bool:
    if isinstance(share, bool) or not isinstance(share, int | float | np.number):
        return False
    return bool(0 <= share <= sys.float_info.max)


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


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
