"""Rules that tie the columns of a row together: declared in a contract, or discovered and proposed.

Each can say in which rows of a table it is broken. Where a cell it needs is NULL, a rule says nothing, as
in SQL (but for NullWhen, which is about NULL).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.schemas.types import as_floats

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Inequality:
    """One column is never above another, or always below it: pickup < dropoff."""

    low: str
    high: str
    strict: bool = False
    kind: ClassVar[Literal["inequality"]] = "inequality"

    @property
    def columns(self) -> tuple[str, ...]:
        """Those it is about."""
        return self.low, self.high

    @property
    def sentence(self) -> str:
        """For a person."""
        return f"{self.low!r} {'<' if self.strict else '<='} {self.high!r}"

    def broken(self, table: pa.Table) -> Flags:
        """(N,) the rows that break it."""
        compare = pc.greater_equal if self.strict else pc.greater
        return _true(compare(table[self.low], table[self.high]))


@dataclass(frozen=True, slots=True)
class Sum:
    """One column is the sum of others, to so many decimals: total = fare + tip + tolls."""

    total: str
    parts: tuple[str, ...]
    decimals: int = 0
    kind: ClassVar[Literal["sum"]] = "sum"

    @property
    def columns(self) -> tuple[str, ...]:
        """Those it is about."""
        return self.total, *self.parts

    @property
    def sentence(self) -> str:
        """For a person."""
        return f"{self.total!r} = {' + '.join(map(repr, self.parts))}"

    def broken(self, table: pa.Table) -> Flags:
        """(N,) the rows that break it by more than rounding."""
        return _off(self, table)

    def whole(self, values: Mapping[str, Floats]) -> Floats:
        """(N,) the total of the parts, not rounded."""
        return np.asarray(np.sum([values[part] for part in self.parts], axis=0))

    def due(self, name: str, values: Mapping[str, Floats]) -> Floats:
        """(N,) what the total, or a part, must be beside the others."""
        whole = self.whole(values)
        due = whole if name == self.total else values[self.total] - whole + values[name]
        return np.asarray(np.round(due, self.decimals))


@dataclass(frozen=True, slots=True)
class Product:
    """One column is the product of others, to so many decimals: amount = quantity * price."""

    total: str
    parts: tuple[str, ...]
    decimals: int = 0
    kind: ClassVar[Literal["product"]] = "product"

    @property
    def columns(self) -> tuple[str, ...]:
        """Those it is about."""
        return self.total, *self.parts

    @property
    def sentence(self) -> str:
        """For a person."""
        return f"{self.total!r} = {' * '.join(map(repr, self.parts))}"

    def broken(self, table: pa.Table) -> Flags:
        """(N,) the rows that break it by more than rounding."""
        return _off(self, table)

    def whole(self, values: Mapping[str, Floats]) -> Floats:
        """(N,) the product of the parts, not rounded."""
        return np.asarray(np.prod([values[part] for part in self.parts], axis=0))

    def due(self, name: str, values: Mapping[str, Floats]) -> Floats:
        """(N,) what the total, or a part, must be beside the others; NaN where no part could do it."""
        if name == self.total:
            return np.asarray(np.round(self.whole(values), self.decimals))
        others = np.prod([values[part] for part in self.parts if part != name], axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(others == 0, np.nan, values[self.total] / others)


@dataclass(frozen=True, slots=True)
class Dependency:
    """The value of one column follows from that of another: zip -> city."""

    by: str
    column: str
    kind: ClassVar[Literal["dependency"]] = "dependency"

    @property
    def columns(self) -> tuple[str, ...]:
        """Those it is about."""
        return self.by, self.column

    @property
    def sentence(self) -> str:
        """For a person."""
        return f"{self.by!r} determines {self.column!r}"

    def broken(self, table: pa.Table) -> Flags:
        """(N,) the rows that hold another value than most rows with the same one."""
        on, other = (codes(table[name]) for name in self.columns)
        known = (on >= 0) & (other >= 0)
        usual = np.full(on.max(initial=0) + 1, -1)
        pairs, count = np.unique(np.stack([on[known], other[known]], 1), axis=0, return_counts=True)
        order = np.argsort(count, kind="stable")
        usual[pairs[order, 0]] = pairs[order, 1]  # the most frequent is written last
        return np.asarray(known & (usual[on] != other))

    def unlike(self, table: pa.Table, source: pa.Table) -> Flags:
        """(N,) the rows of a table that hold two values which no row of the source holds together."""
        return _unlike(table, source, self.columns, nulls=False)


@dataclass(frozen=True, slots=True)
class NullWhen:
    """A column is NULL exactly where another has one of these values: tip, where payment is cash."""

    column: str
    by: str
    values: tuple[str, ...]
    kind: ClassVar[Literal["null_when"]] = "null_when"

    @property
    def columns(self) -> tuple[str, ...]:
        """Those it is about."""
        return self.by, self.column

    @property
    def sentence(self) -> str:
        """For a person."""
        return f"{self.column!r} is NULL exactly where {self.by!r} is {' or '.join(map(repr, self.values))}"

    def broken(self, table: pa.Table) -> Flags:
        """(N,) the rows that are NULL and should not be, or should and are not."""
        on = plain(table[self.by])
        empty = _true(pc.is_in(on.cast(pa.string()), pa.array(self.values, pa.string())))
        known = ~_true(pc.is_null(on))
        return np.asarray(known & (empty != _true(pc.is_null(table[self.column]))))


@dataclass(frozen=True, slots=True)
class Combination:
    """Columns hold together only what they hold together in the source: country, region, city.

    of nulls: it is which of them are NULL together that is fixed, whatever the others hold.
    """

    columns: tuple[str, ...]
    of: Literal["values", "nulls"] = "values"
    kind: ClassVar[Literal["combination"]] = "combination"

    def __post_init__(self) -> None:
        """Refuse what ties nothing."""
        names = self.columns
        if not isinstance(names, tuple) or len(set(names)) < max(len(names), 2) or self.of not in _OF:
            raise UsageError(
                f"a combination must be of two or more columns, each named once, and of {' or '.join(_OF)}, "
                f"however: columns {names!r}, of {self.of!r}. Correct it."
            )

    @property
    def sentence(self) -> str:
        """For a person."""
        *first, last = map(repr, self.columns)
        what = "are NULL" if self.of == "nulls" else "come"
        return f"{', '.join(first)} and {last} {what} together only as in the source"

    def broken(self, table: pa.Table) -> Flags:
        """(N,) none: what a source holds is what may come together; of another table, `unlike` says."""
        return np.zeros(table.num_rows, bool)

    def unlike(self, table: pa.Table, source: pa.Table) -> Flags:
        """(N,) the rows of a table that hold what no row of the source holds."""
        return _unlike(table, source, self.columns, nulls=self.of == "nulls")


_OF = ("values", "nulls")
Arithmetic = Sum | Product
Constraint = Inequality | Arithmetic | Dependency | NullWhen | Combination
_KINDS: dict[str, type[Constraint]] = {
    c.kind: c for c in (Inequality, Sum, Product, Dependency, NullWhen, Combination)
}


def to_record(constraint: Constraint) -> dict[str, Any]:
    """Plain values.

    >>> to_record(Dependency("zip", "city"))
    {'kind': 'dependency', 'by': 'zip', 'column': 'city'}
    """
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(constraint).items()}
    return {"kind": constraint.kind} | values


def from_record(record: Mapping[str, Any], source: str) -> Constraint:
    """The constraint that `to_record` wrote, or a person; raises UsageError."""
    kind = _KINDS.get(str(record.get("kind")))
    if kind is None:
        raise UsageError(
            f"{source}: a constraint must be of {sorted(_KINDS)}, however: {record.get('kind')!r}."
        )
    known = {f.name for f in fields(kind)}
    if not set(record) - {"kind"} <= known:
        raise UsageError(
            f"{source}: the keys of {kind.kind!r} must be of {sorted(known)}, however: {sorted(record)}."
        )
    values: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in record.items() if k != "kind"
    }
    try:
        return kind(**values)
    except TypeError as error:
        raise UsageError(f"{source}: {kind.kind!r} must be whole, however: {error}.") from error


def refuse_unknown(constraints: Sequence[Constraint], names: Sequence[str], source: str) -> None:
    """Raise UsageError where a constraint is about a column that the table lacks."""
    for constraint in constraints:
        unknown = [name for name in constraint.columns if name not in names]
        if unknown:
            raise UsageError(
                f"{source}: {constraint.sentence} must be about columns of the table, however it has no "
                f"{', '.join(map(repr, unknown))}. Correct the name, or leave the rule out."
            )


def codes(values: pa.ChunkedArray) -> NDArray[np.int64]:
    """(N,) a number for each distinct value, -1 for NULL."""
    encoded = pc.dictionary_encode(plain(values)).combine_chunks()
    indices = (encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded).indices
    return np.asarray(indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False))


def plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without a dictionary."""
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def _unlike(table: pa.Table, source: pa.Table, columns: Sequence[str], *, nulls: bool) -> Flags:
    """(N,) the rows whose cells of these columns no row of the source has together."""
    both = [pa.chunked_array([*source[name].chunks, *table[name].chunks]) for name in columns]
    cells = np.stack([is_null(it) if nulls else codes(it) for it in both], axis=1)
    _, group = np.unique(cells, axis=0, return_inverse=True)
    return np.asarray(~np.isin(group[source.num_rows :], group[: source.num_rows]))


def is_null(values: pa.ChunkedArray) -> NDArray[np.int64]:
    """(N,) 1 where a cell is NULL."""
    return np.asarray(pc.is_null(values).to_numpy(), np.int64)


def _off(rule: Arithmetic, table: pa.Table) -> Flags:
    """(N,) the rows whose total is not what its parts give, by more than rounding."""
    values = {name: _floats(table[name]) for name in rule.columns}
    total = values[rule.total]
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(total - rule.whole(values))
        return np.asarray(off > 0.51 * 10.0**-rule.decimals + 1e-9 * np.abs(total))


def _floats(values: pa.ChunkedArray) -> Floats:
    return np.asarray(as_floats(values).to_numpy(), np.float64)


def _true(flags: pa.ChunkedArray) -> Flags:
    return np.asarray(pc.fill_null(flags, False).to_numpy(), bool)
