"""What a later state of a table holds that a fitted codec has no word for: it could never be drawn.

Chance moves single rows into and out of what a codec learned. So cells count only where they are clearly more
than the rows that must share a value before it is learned at all.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from tabdar_pipeline.codec.category import CategoryCodec
from tabdar_pipeline.codec.number import NumberCodec
from tabdar_pipeline.codec.table import ColumnCodec, TableCodec, modelled_values
from tabdar_pipeline.schemas.table import TableSchema

CLEARLY = 3  # times the rows that must share a value
MASS = 0.01  # of a number's cells beyond its range, or between its steps
_ROUNDING = 1e-6  # of a tick


def unspoken(codec: TableCodec, table: pa.Table, schema: TableSchema) -> tuple[str, ...]:
    """A sentence for each thing that clearly is in the table and cannot be drawn; counts, never values."""
    found: list[str] = []
    for own, column in zip(codec.columns, schema.modelled, strict=True):
        kept = codec.protected.get(column.name)
        least = CLEARLY * (kept.rows if kept is not None else 1)
        values = modelled_values(codec.rules, table, column)
        found += [f"column {column.name!r}: {what}" for what in _of_column(own, values, least)]
    return tuple(found)


def _of_column(codec: ColumnCodec, values: pa.Array, least: int) -> Iterator[str]:
    if not codec.missing and values.null_count >= least:
        yield f"{values.null_count:,} cells are NULL, and none was learned"
    known = values.drop_null()
    if isinstance(codec, CategoryCodec):
        yield from _levels(codec, known, least)
    else:
        yield from _numbers(codec, known, max(least, round(MASS * len(known))))


def _levels(codec: CategoryCodec, known: pa.Array, least: int) -> Iterator[str]:
    fresh = known.filter(pa.array(codec.encode(known) < 0))
    shared = sum(count.as_py() >= least for count in fresh.value_counts().field("counts"))
    if shared:
        yield f"{shared:,} levels, each of {least:,} rows or more, were not learned"


def _numbers(codec: NumberCodec, known: pa.Array, least: int) -> Iterator[str]:
    ticks = codec.line.ticks(known)
    finite = ticks[np.isfinite(ticks)]
    cells = {
        "lie beyond the range that was learned": codec.unseen(known),
        "lie between the steps that were learned": int(
            codec.line.grid and (np.abs(finite - np.rint(finite)) > _ROUNDING).sum()
        ),
        "are no numbers, and none was learned": 0 if codec.specials else len(ticks) - len(finite),
    }
    for what, count in cells.items():
        if count >= least:
            yield f"{count:,} cells {what}"
