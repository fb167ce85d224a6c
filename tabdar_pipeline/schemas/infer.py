"""Kinds of columns from a table's own data, each with its reason; refusals by name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import MAXYEAR, MINYEAR

import pyarrow as pa
import pyarrow.compute as pc

from tabdar_pipeline.errors import SourceError
from tabdar_pipeline.schemas.columns import Column, Kind
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.schemas.types import sql_type

FEW_LEVELS = 50  # a string column with no more levels is a category, however few its rows
REPEATED = 5  # with more levels, each must be shared by so many rows on average
KEY_ROWS = 20  # uniqueness in fewer rows says nothing
# Types that are carried as text, whose patterns are no keys: letters and digits cannot be any.
_NO_KEYS = frozenset({"INTERVAL", "BIT", "TIME WITH TIME ZONE", "JSON"})
_KEY_NAME = re.compile(r"(^|[_\W])(id|key|uuid|guid|nr|no|code|number)$|[a-z]Id$", re.IGNORECASE)


def infer_schema(
    table: pa.Table,
    name: str,
    sql_types: Mapping[str, str] | None = None,
    keys: Sequence[str] = (),
    references: Mapping[str, str] | None = None,
) -> TableSchema:
    """The schema of a table; raises SourceError where there is nothing to learn from.

    `references`: of foreign keys, schema.table.column of the table that they refer to.

    >>> infer_schema(pa.table({"a": [1, 2, 2], "b": ["x", "y", "x"]}), "t").columns[1].kind
    <Kind.CATEGORY: 'category'>
    """
    _refuse_unusable(table, name)
    sql_types = sql_types or {}
    columns = tuple(
        _column(field, table[field.name], sql_types.get(field.name), field.name in keys)
        for field in table.schema
    )
    columns = tuple(_referring(column, (references or {}).get(column.name)) for column in columns)
    if not any(column.modelled for column in columns):
        kinds = ", ".join(f"{c.name!r} is {c.kind}" for c in columns)
        raise SourceError(
            f"table {name!r} must have a column to learn from (number, datetime or category), "
            f"however: {kinds}. Add columns, or change kinds in the contract."
        )
    return TableSchema(name, columns)


def _refuse_unusable(table: pa.Table, name: str) -> None:
    if table.num_columns == 0:
        raise SourceError(f"table {name!r} must have columns, however it has none. Name another table.")
    if table.num_rows < 2:
        raise SourceError(
            f"table {name!r} must have at least 2 rows to learn from, however it has "
            f"{table.num_rows}. Check the filter, or wait until the table is filled."
        )
    twice = sorted({c for c in table.column_names if table.column_names.count(c) > 1})
    if twice:
        raise SourceError(
            f"table {name!r} must have column names that differ, however these occur twice: "
            f"{twice}. Rename them in the source."
        )
    for field in table.schema:
        if pa.types.is_nested(field.type):
            raise SourceError(
                f"table {name!r}, column {field.name!r}: a column must hold single values, however "
                f"its type is {field.type}. Unnest it, cast it to VARCHAR, or leave it out with `columns`."
            )
        if _is_beyond_calendar(table[field.name]):
            raise SourceError(
                f"table {name!r}, column {field.name!r}: a date must be finite and of the years 1 to 9999 to "
                "be learned, however some are infinity or beyond. Make them NULL in a view, or leave the "
                "column out with `columns`."
            )


def _is_beyond_calendar(values: pa.ChunkedArray) -> bool:
    """Whether a date or timestamp is DuckDB's infinity, or of a year that no calendar of Python has."""
    if not (pa.types.is_date(values.type) or pa.types.is_timestamp(values.type)):
        return False
    years = pc.min_max(pc.year(values)).as_py().values()
    return any(year is not None and not MINYEAR <= year <= MAXYEAR for year in years)


def _column(field: pa.Field, values: pa.ChunkedArray, sql: str | None, declared_key: bool) -> Column:
    kind, reason = _kind(field.name, values, declared_key, sql in _NO_KEYS)
    return Column(
        field.name, kind, str(field.type), sql or sql_type(field.type), values.null_count > 0, reason
    )


def _referring(column: Column, references: str | None) -> Column:
    if references is None or column.kind is Kind.CONSTANT:
        return column
    return replace(column, kind=Kind.FOREIGN_KEY, references=references, reason=f"refers to {references}")


def _kind(name: str, values: pa.ChunkedArray, declared_key: bool, written: bool) -> tuple[Kind, str]:
    kind, rows = values.type, len(values)
    if pa.types.is_dictionary(kind):
        values = pa.chunked_array([c.dictionary_decode() for c in values.chunks])
    distinct = pc.count_distinct(values, mode="only_valid").as_py()
    if distinct == 0:
        return Kind.CONSTANT, "every value is missing"
    if distinct == 1 and not values.null_count:
        return Kind.CONSTANT, "one value in every row"
    unique = distinct == rows
    if pa.types.is_boolean(kind):
        return Kind.CATEGORY, "true or false"
    if declared_key:
        return Kind.KEY, "declared as a key"
    countable = pa.types.is_integer(kind) or (_is_text(kind) and not written)
    if countable and unique and rows >= KEY_ROWS and (_KEY_NAME.search(name) or _looks_like_key(values)):
        return Kind.KEY, "unique in every row, and named or formed as an identifier"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Kind.NUMBER, f"{kind}, {distinct} distinct values"
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return Kind.DATETIME, f"{kind}, {distinct} distinct values"
    if _is_text(kind) or pa.types.is_dictionary(kind):
        if pa.types.is_dictionary(kind) or distinct <= FEW_LEVELS or distinct * REPEATED <= rows:
            return Kind.CATEGORY, f"{distinct} levels in {rows} rows"
        return Kind.TEXT, f"{distinct} levels in {rows} rows: too many to be categories"
    return Kind.TEXT, f"{kind} is not modelled"


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _looks_like_key(values: pa.ChunkedArray) -> bool:
    """Whether unique integers run without gaps, or unique strings are UUIDs or of one pattern."""
    if pa.types.is_integer(values.type):
        ends = pc.min_max(values).as_py()
        return values.type.bit_width > 16 and bool(ends["max"] - ends["min"] + 1 == len(values))
    head = values.slice(0, 1000).to_pylist()
    patterns = {re.sub(r"[A-Za-z]", "a", re.sub(r"\d", "9", text)) for text in head if text}
    return len(patterns) == 1 and "9" in next(iter(patterns)) and " " not in next(iter(patterns))
