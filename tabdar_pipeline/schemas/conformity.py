"""A table in the types of a model: every value the same, or refused by name."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabdar_pipeline.errors import SourceError, UsageError
from tabdar_pipeline.schemas.columns import Column, Kind
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.schemas.types import arrow_type, as_floats, sql_type


def conformed(table: pa.Table, schema: TableSchema) -> pa.Table:
    """The table in the model's types, such as whole numbers that a file with gaps keeps as floats.

    Every column may hold NULL, whatever its file says: DuckDB writes `not null` where none is missing. Raises
    SourceError where a column is not there, and UsageError where a value would not be the same.
    """
    gone = [name for name in schema.names if name not in table.column_names]
    if gone:
        raise SourceError(
            f"table {schema.name!r} must have the columns that the model has learned, however it lacks "
            f"{', '.join(map(repr, gone))}. Add them, all NULL where they are not known, or fit again."
        )
    columns = [
        _same(values, schema, name) if name in schema.names else values
        for name, values in zip(table.column_names, table.columns, strict=True)
    ]
    return pa.Table.from_arrays(columns, names=table.column_names)


def carrying(schema: TableSchema, table: pa.Table, sql_types: Mapping[str, str]) -> TableSchema:
    """The schema with the columns of a table that no model knows, each in its place and of its own type."""
    nested = [field.name for field in table.schema if pa.types.is_nested(field.type)]
    if nested:
        raise UsageError(
            f"table {schema.name!r}: columns must hold single values to be written, however these are nested: "
            f"{', '.join(map(repr, nested))}. Leave them out of the source."
        )
    columns = (
        schema[field.name]
        if field.name in schema.names
        else Column(
            field.name,
            Kind.LEAVE_OUT,
            str(field.type),
            sql_types.get(field.name, sql_type(field.type)),
            nullable=True,
        )
        for field in table.schema
    )
    return replace(schema, columns=tuple(columns))


def _same(values: pa.ChunkedArray, schema: TableSchema, name: str) -> pa.ChunkedArray:
    """The column in the model's type."""
    kind = arrow_type(schema[name].arrow_type)
    if values.type == kind:
        return values
    plain = values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
    try:
        cast = plain.cast(kind)
        changed = _changed(plain, cast)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UsageError(
            f"table {schema.name!r}, column {name!r}: values must be of the model's type {kind}, however "
            f"{_refused(plain, kind)!r} cannot be: {error}. Cast the column in the source."
        ) from error
    if len(changed):
        row = int(changed[0])
        raise UsageError(
            f"table {schema.name!r}, column {name!r}: values must stay as they are in the model's type {kind}, "
            f"however {plain[row].as_py()!r} would become {cast[row].as_py()!s} ({len(changed):,} such cells). "
            "Round or cast the column in the source, or fit to the type that it has."
        )
    return cast


def _refused(values: pa.ChunkedArray, kind: pa.DataType) -> object:
    """The first value that cannot be of the other type."""
    for value in values.unique().drop_null():
        try:
            value.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return value.as_py()
    return values.type


def _changed(values: pa.ChunkedArray, cast: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """The rows whose value is another in the other type: it does not come back. A text says the same in any type."""
    kind = cast.type.value_type if pa.types.is_dictionary(cast.type) else cast.type
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return np.zeros(0, np.intp)
    if pa.types.is_floating(values.type) and (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        back = as_floats(cast.cast(pa.string())).cast(
            values.type
        )  # a FLOAT of 0.1 is what a file of text says with 0.1
    else:
        back = cast.cast(values.type, safe=False)
    same = pc.fill_null(pc.equal(values, back), fill_value=True)
    if pa.types.is_floating(values.type):
        same = pc.or_(same, pc.fill_null(pc.is_nan(values), fill_value=True))
    return np.flatnonzero(~np.asarray(same))
