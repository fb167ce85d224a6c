"""How sure the model is of each number that it fills: the range that holds the truth with a given probability."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.imputation import Request
from tabdar_pipeline.schemas.columns import Column, Kind
from tabdar_pipeline.schemas.conformity import conformed
from tabdar_pipeline.schemas.table import TableSchema

LEVEL = 0.9


def intervals(
    impute: Callable[[pa.Table, Request], Iterator[pa.Table]],
    schema: TableSchema,
    table: pa.Table,
    request: Request,
    level: float = LEVEL,
) -> pa.Table:
    """For each row its key and, of each number or time that is filled, `<name>__low` and `<name>__high`.

    Both are quantiles of what the model says of the cell, given what its row shows; NULL where a cell was observed.
    """
    refuse_level(level)
    table = conformed(table, schema)
    ranks = ((1 - level) / 2, (1 + level) / 2)
    ends = [next(impute(table, replace(request, point="median", rank=rank, draws=1))) for rank in ranks]
    columns = dict[str, pa.ChunkedArray](keyed(table, schema))
    for column in interval_schema(schema).columns[len(columns) :: 2]:
        name = column.name.removesuffix("__low")
        first, last = (
            pc.if_else(table[name].is_null(), end[name], pa.scalar(None, end[name].type)) for end in ends
        )
        columns[f"{name}__low"] = pc.min_element_wise(
            first, last
        )  # counted back from a later time, they change places
        columns[f"{name}__high"] = pc.max_element_wise(first, last)
    return pa.table(columns)


def refuse_level(level: float) -> None:
    """Raise UsageError where no interval can hold the truth so often."""
    if not 0 < level < 1:
        raise UsageError(
            f"the level of intervals must lie between 0 and 1, however it is {level}. Say 0.9, for example."
        )


def keyed(table: pa.Table, schema: TableSchema) -> Mapping[str, pa.ChunkedArray]:
    """What tells the rows apart in a table beside theirs: their keys or, where there are none, their number."""
    number = pa.chunked_array([pa.array(np.arange(1, len(table) + 1))])
    return {c.name: table[c.name] if c.name in schema.names else number for c in key_columns(schema)}


def key_columns(schema: TableSchema) -> tuple[Column, ...]:
    """The columns of `keyed`: the keys, or `row`, which counts the rows as they lie, from 1."""
    name = "row"
    while name in schema.names:
        name += "_"
    number = Column(name, Kind.KEY, "int64", "BIGINT", nullable=False)
    return tuple(c for c in schema.columns if c.kind is Kind.KEY) or (number,)


def interval_schema(schema: TableSchema) -> TableSchema:
    """The columns of `intervals`."""
    ends = tuple(
        replace(column, name=f"{column.name}__{end}", nullable=True)
        for column in schema.modelled
        if column.kind is not Kind.CATEGORY
        for end in ("low", "high")
    )
    return replace(schema, columns=(*key_columns(schema), *ends))
