"""A table as codes and residuals, and back: one codec a column, fitted once, kept as JSON.

N rows, C modelled columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline.codec.category import CategoryCodec
from tabdar_pipeline.codec.constant import ConstantCodec
from tabdar_pipeline.codec.encoded import EncodedTable
from tabdar_pipeline.codec.identifier import IdentifierCodec, are_uuids
from tabdar_pipeline.codec.number import Cells, NumberCodec, NumberSettings
from tabdar_pipeline.codec.protection import Protection, guarded, protection
from tabdar_pipeline.codec.reference import ReferenceCodec
from tabdar_pipeline.codec.rules import Rules, told_by_values
from tabdar_pipeline.codec.text import SHARED, TextCodec
from tabdar_pipeline.errors import SourceError, UsageError
from tabdar_pipeline.schemas.columns import Column, Kind
from tabdar_pipeline.schemas.constraints import Constraint
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.schemas.types import arrow_type

PIECE = 2**20  # rows that are encoded at once

ColumnCodec = NumberCodec | CategoryCodec
Made = IdentifierCodec | TextCodec | ReferenceCodec | ConstantCodec  # of a column that is not modelled

# generated: a NULL is drawn like any value, and tells of the others. unknown: it is neither learned
# nor evidence, as if the cell were not there.
Missing = Literal["generated", "unknown"]


@dataclass(frozen=True, slots=True)
class Block:
    """Codes and residuals of consecutive rows of a synthetic table."""

    codes: NDArray[np.int64]  # (B, C)
    values: NDArray[np.floating[Any]]  # (B, C)
    first_row: int
    seed: int


@dataclass(frozen=True, slots=True)
class TableCodec:
    """The codecs of a table's modelled columns, in the order of the schema."""

    columns: tuple[ColumnCodec, ...]
    made: Mapping[str, Made]  # the columns that are not modelled
    protected: Mapping[str, Protection] = field(default_factory=dict)  # of the modelled columns
    rules: Rules = field(default_factory=Rules)

    @classmethod
    def fit(
        cls,
        table: pa.Table,
        schema: TableSchema,
        settings: NumberSettings,
        missing: Missing = "generated",
        constraints: Sequence[Constraint] = (),
        rng: np.random.Generator | None = None,
        alone: Sequence[str] = (),
    ) -> Self:
        """Learn one codec for each modelled column; missing cells are a code of their own, or unknown.

        `rng` blurs how many rows must share a value; without it the threshold is exact. Columns that stand `alone`
        are modelled by themselves whatever constraints tie them, so that rows can be asked for by them.
        """
        codecs: list[ColumnCodec] = []
        protected: dict[str, Protection] = {}
        rules = Rules.fit(constraints, table, schema, alone)
        exact = told_by_values(constraints)
        for column in schema.modelled:
            values = modelled_values(rules, table, column)
            if missing == "unknown":
                values = values.drop_null()
            own = guarded(column, settings, rng)
            codec: ColumnCodec = (
                CategoryCodec.fit(values, own.shared)
                if column.kind is Kind.CATEGORY
                else NumberCodec.fit(values, own, column.name in exact)
            )
            codecs.append(codec)
            protected[column.name] = protection(codec, values.drop_null(), own.shared)
        made = {c.name: _made(c, combined(table, c)) for c in schema.columns if not c.modelled}
        fitted = cls(tuple(codecs), made, protected, rules)
        shared = [protected[column.name].rows for column in schema.modelled]
        learned = rules.learn_ties(schema, codecs, lambda c: fitted.codes(table, schema, c), shared)
        return replace(fitted, rules=learned)

    def encode(
        self, table: pa.Table, schema: TableSchema, rng: np.random.Generator | None = None
    ) -> EncodedTable:
        """Codes, residuals and known cells of the modelled columns.

        Equal values lie anywhere in their interval of ranks where `rng` is given, to learn from; in
        its middle where it is not, so that a row's cells depend on nothing but the row.
        """
        encoded = EncodedTable.empty(len(table), [codec.levels for codec in self.columns])
        for c, column in enumerate(schema.modelled):
            values = modelled_values(self.rules, table, column)
            gone = self._without_start(table, values, column)
            for first in range(0, len(table), PIECE):
                here = slice(first, first + PIECE)
                cells = encode_column(self.columns[c], values.slice(first, PIECE), rng)
                known = (cells.codes >= 0) & ~gone[here]
                encoded.codes[here, c] = np.where(known, cells.codes, 0)
                encoded.values[here, c] = np.where(known, cells.residuals, 0)
                encoded.known[here, c] = known
        return encoded

    def codes(self, table: pa.Table, schema: TableSchema, place: int) -> NDArray[np.int64]:
        """Codes (N,) of one modelled column, -1 where unknown."""
        column = schema.modelled[place]
        values = modelled_values(self.rules, table, column)
        codes = encode_column(self.columns[place], values).codes
        return np.where(self._without_start(table, values, column), -1, codes)

    def _without_start(self, table: pa.Table, values: pa.Array, column: Column) -> NDArray[np.bool_]:
        """Where a time is there (N,), and not the one that it counts from."""
        if column.name not in self.rules.gaps:
            return np.zeros(len(table), bool)
        gone: NDArray[np.bool_] = values.is_null().to_numpy(False) & table[column.name].is_valid().to_numpy()
        return gone

    def renewed(self, table: pa.Table, schema: TableSchema) -> "TableCodec":
        """The same codec with keys, texts and constants of a later state of the table: they are not learned."""
        made = {c.name: _made(c, combined(table, c)) for c in schema.columns if not c.modelled}
        return replace(self, made=made)

    def referring(self, table: pa.Table, schema: TableSchema) -> "TableCodec":
        """The same codec with foreign keys as in a whole table: in a part of it, fewer rows share a value."""
        columns = [c for c in schema.columns if c.kind is Kind.FOREIGN_KEY]
        return replace(self, made={**self.made, **{c.name: _made(c, combined(table, c)) for c in columns}})

    def keyed(self, table: pa.Table, schema: TableSchema) -> "TableCodec":
        """The same codec with keys as in a whole table: those of a part may be real ones of another part."""
        columns = [c for c in schema.columns if c.kind is Kind.KEY]
        return replace(self, made={**self.made, **{c.name: _made(c, combined(table, c)) for c in columns}})

    def refuse_too_many(self, rows: int, schema: TableSchema) -> None:
        """Raise UsageError where a key's type has no room for so many rows."""
        for name, codec in self.made.items():
            if isinstance(codec, IdentifierCodec) and rows > codec.room(arrow_type(schema[name].arrow_type)):
                raise UsageError(
                    f"table {schema.name!r}, column {name!r}: a key must differ in every row, however "
                    f"{schema[name].sql_type} has no room for {rows:,} keys that no real row has. Draw fewer "
                    "rows, widen the type in the source, or make the column a number in the contract."
                )

    def decode(
        self,
        cells: Block,
        schema: TableSchema,
        observed: Mapping[str, pa.Array] | None = None,
        fixed: Sequence[str] = (),
    ) -> pa.RecordBatch:
        """A block of rows as the table's own columns, in its own order and types.

        Constraints do not change what was observed, nor columns that are fixed by a condition.
        """
        drawn = {
            column.name: decode_column(codec, cells.codes[:, c], cells.values[:, c], self.rules.kind(column))
            for c, (codec, column) in enumerate(zip(self.columns, schema.modelled, strict=True))
        }
        stay = {name: drawn[name] for name in fixed} | dict(observed or {})
        modelled = self.rules.restore(drawn, schema, stay)
        rows = len(cells.codes)
        arrays = [
            modelled[column.name]
            if column.modelled
            else self.made[column.name].generate(
                cells.first_row, rows, cells.seed, arrow_type(column.arrow_type)
            )
            for column in schema.columns
        ]
        return pa.RecordBatch.from_arrays(arrays, names=list(schema.names))

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(C + 1,) where each column's codes begin in the flat row of all codes."""
        return np.cumsum([0, *(codec.levels for codec in self.columns)]).astype(np.int64)

    @property
    def continuous(self) -> NDArray[np.bool_]:
        """(K,) for each code of all columns, whether it carries a residual."""
        return np.concatenate([_continuous(codec) for codec in self.columns])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "columns": [codec.to_json() for codec in self.columns],
            "made": {n: c.to_json() for n, c in self.made.items()},
            "protected": {n: it.to_json() for n, it in self.protected.items()},
            "rules": self.rules.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The codec that `to_json` wrote."""
        columns = tuple(_modelled_from_json(column) for column in record["columns"])
        made = {name: _made_from_json(codec) for name, codec in record["made"].items()}
        protected = {name: Protection(**it) for name, it in record.get("protected", {}).items()}
        rules = Rules.from_json(record["rules"]) if "rules" in record else Rules()
        return cls(columns, made, protected, rules)


def _modelled_from_json(record: Mapping[str, Any]) -> ColumnCodec:
    if record["codec"] == "number":
        return NumberCodec.from_json(record)
    return CategoryCodec.from_json(record)


def _made_from_json(record: Mapping[str, Any]) -> Made:
    of: dict[str, type[Made]] = {
        "identifier": IdentifierCodec,
        "text": TextCodec,
        "reference": ReferenceCodec,
    }
    return of.get(record["codec"], ConstantCodec).from_json(record)


def _made(column: Column, values: pa.Array) -> Made:
    if column.kind is Kind.CONSTANT or values.null_count == len(values):
        return ConstantCodec.fit(values)
    if column.kind is Kind.FOREIGN_KEY:
        return ReferenceCodec.fit(values)
    if column.kind is Kind.TEXT and _texts(values.type) and not are_uuids(values):
        return TextCodec.fit(values, _shared(column))
    return IdentifierCodec.fit(values)


def _shared(column: Column) -> int:
    """Rows that must share a word of a text: any word where the source's type is no text, but written as one."""
    return (column.rare or SHARED) if column.sql_type in ("VARCHAR", "JSON") else 1


def _texts(kind: pa.DataType) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain)


def _continuous(codec: ColumnCodec) -> NDArray[np.bool_]:
    if isinstance(codec, NumberCodec):
        return codec.continuous
    return np.zeros(codec.levels, bool)


def encode_column(codec: ColumnCodec, column: pa.Array, rng: np.random.Generator | None = None) -> Cells:
    """Codes and residuals (N,) of one column."""
    if isinstance(codec, NumberCodec):
        return codec.encode(column, rng)
    return Cells(codec.encode(column), np.zeros(len(column)))


def decode_column(
    codec: ColumnCodec, codes: NDArray[np.int64], residuals: NDArray[np.floating], kind: pa.DataType
) -> pa.Array:
    """One column of these codes and residuals (B,), in its own type."""
    if isinstance(codec, NumberCodec):
        return codec.decode(Cells(codes, residuals.astype(np.float64)), kind)
    return codec.decode(codes, kind)


def modelled_values(rules: Rules, table: pa.Table, column: Column) -> pa.Array:
    """What is modelled of one column, as one array; refuses a table that lacks it."""
    whole = combined(table, column)
    return _one(rules.modelled(table, column)) if column.name in rules.gaps else whole


def combined(table: pa.Table, column: Column) -> pa.Array:
    """One column as one array; refuses a table that lacks it."""
    if column.name not in table.column_names:
        raise SourceError(
            f"the table must have the column {column.name!r}, however it has "
            f"{', '.join(map(repr, table.column_names))}. Add the column or fit a model without it."
        )
    return _one(table[column.name])


def _one(values: pa.ChunkedArray) -> pa.Array:
    chunks = values.combine_chunks()
    return chunks.combine_chunks() if isinstance(chunks, pa.ChunkedArray) else chunks
