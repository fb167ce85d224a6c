"""Missing cells filled by the model: drawn, or estimated from their distribution given the row.

B rows, C modelled columns, K codes of a column.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabdar_pipeline.codec.category import CategoryCodec
from tabdar_pipeline.codec.table import Block, TableCodec, combined, decode_column
from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.sampling.complete import complete, marginals
from tabdar_pipeline.sampling.draws import BLOCK_ROWS, Draws
from tabdar_pipeline.sampling.engine import Cells, Codes, Engine, Floats
from tabdar_pipeline.sampling.memory import Flags
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.schemas.types import arrow_type

Point = Literal["draw", "mean", "median", "mode"]
ORDERS = 4  # in which the visible columns are read; an estimate is the mean over them

Progress = Callable[[int, int], None]  # rows done, rows to do


@dataclass(frozen=True, slots=True)
class Request:
    """What to fill, and how. An estimate of a category is its mode."""

    seed: int = 0
    point: Point = "draw"
    columns: tuple[str, ...] | None = None  # all where None


def seed_of_draw(seed: int, draw: int) -> int:
    """The seed of the n-th of several draws; the first has the seed itself."""
    return seed + 1_000_003 * draw


@dataclass(frozen=True, slots=True)
class Gaps:
    """The rows that miss something: what they show, and what is asked of them."""

    rows: NDArray[np.intp]  # (B,) their places in the table
    cells: Cells
    visible: Flags  # (B, C)
    asked: Flags  # (B, C)
    hashes: NDArray[np.uint64]  # (B,) of their content

    def part(self, here: slice) -> "Gaps":
        """Some of the rows."""
        cells = Cells(self.cells.codes[here], self.cells.values[here])
        return Gaps(self.rows[here], cells, self.visible[here], self.asked[here], self.hashes[here])


class Filled(NamedTuple):
    """Values of one column's cells that were missing."""

    column: int
    rows: NDArray[np.intp]  # places in the table
    values: pa.Array


def impute(
    engine: Engine,
    codec: TableCodec,
    schema: TableSchema,
    table: pa.Table,
    request: Request,
    progress: Progress | None = None,
) -> pa.Table:
    """Fill missing cells; observed cells stay as they are, and so does every complete row.

    A level that the model never saw is kept, and is no evidence. What a row is given does not
    depend on the rows beside it: its draws are a function of the seed and of its own content.
    """
    gaps = find_gaps(codec, schema, table, request)
    blocks = [gaps.part(slice(i, i + BLOCK_ROWS)) for i in range(0, len(gaps.rows), BLOCK_ROWS)]
    fill = _drawn if request.point == "draw" else _estimated
    found: list[Filled] = []
    with ThreadPoolExecutor(engine.workers) as pool:
        for done, filled in enumerate(pool.map(lambda b: [*fill(engine, codec, schema, b, request)], blocks)):
            found += filled
            if progress is not None:
                progress(min((done + 1) * BLOCK_ROWS, len(gaps.rows)), len(gaps.rows))
    return _merged(table, schema, found)


def find_gaps(codec: TableCodec, schema: TableSchema, table: pa.Table, request: Request) -> Gaps:
    """The rows that miss a cell of the requested columns."""
    names = [c.name for c in schema.modelled]
    unknown = [name for name in request.columns or () if name not in names]
    if unknown:
        raise UsageError(
            f"columns to impute must be modelled ones ({', '.join(map(repr, names))}), however: "
            f"{', '.join(map(repr, unknown))}. Choose among them."
        )
    missing = np.stack([_is_null(combined(table, c)) for c in schema.modelled], axis=1)
    wanted = missing & np.array([request.columns is None or name in request.columns for name in names])
    encoded = codec.encode(table, schema, np.random.default_rng(request.seed))
    rows = np.flatnonzero(wanted.any(axis=1))
    cells = Cells(encoded.codes[rows], encoded.values[rows])
    hashes = row_hashes(table)[rows]
    return Gaps(rows, cells, (encoded.known & ~missing)[rows], wanted[rows], hashes)


def _drawn(
    engine: Engine, codec: TableCodec, schema: TableSchema, gaps: Gaps, request: Request
) -> Iterator[Filled]:
    """One draw of each row's missing cells together."""
    order = Draws.of(request.seed, 0, len(codec.columns), rows=1).order
    draws = Draws.of_rows(request.seed, gaps.hashes, order)
    cells = complete(engine, gaps.cells, gaps.visible, gaps.asked, draws, nulls(codec))
    decoded = codec.decode(Block(cells.codes, cells.values, 0, request.seed), schema)
    for c, column in enumerate(schema.modelled):
        here = np.flatnonzero(gaps.asked[:, c])
        if len(here):
            yield Filled(c, gaps.rows[here], decoded[column.name].take(pa.array(here)))


def _estimated(
    engine: Engine, codec: TableCodec, schema: TableSchema, gaps: Gaps, request: Request
) -> Iterator[Filled]:
    """Each missing cell by itself, given what its row shows: mean, median or mode."""
    columns, barred = len(codec.columns), nulls(codec)
    orders = [Draws.of(request.seed, i, columns, rows=1).order for i in range(ORDERS)]
    weight: dict[int, Floats] = {}
    for order in orders:
        for c, logits in marginals(engine, gaps.cells, gaps.visible, gaps.asked, order):
            weight[c] = weight.get(c, np.float32(0)) + _softmax(logits, barred.get(c))
    for c, share in weight.items():
        here = np.flatnonzero(gaps.asked[:, c])
        kind = arrow_type(schema.modelled[c].arrow_type)
        yield Filled(
            c, gaps.rows[here], _point(codec, c, share[here] / np.float32(ORDERS), kind, request.point)
        )


def _point(codec: TableCodec, c: int, share: Floats, kind: pa.DataType, point: Point) -> pa.Array:
    """The estimate (B,) of one column from the shares of its codes (B, K)."""
    column = codec.columns[c]
    if isinstance(column, CategoryCodec) or point == "mode":
        return decode_column(column, share.argmax(axis=1), np.zeros(len(share)), kind)
    places = column.places()  # (K, Q)
    if point == "mean":
        return column.line.column(share @ places.mean(axis=1), kind)
    order = np.argsort(places, axis=None, kind="stable")
    spread = np.repeat(share / places.shape[1], places.shape[1], axis=1)[:, order]
    middle = (np.cumsum(spread, axis=1) < 0.5 * spread.sum(axis=1, keepdims=True)).sum(axis=1)
    return column.line.column(places.ravel()[order][np.minimum(middle, len(order) - 1)], kind)


def nulls(codec: TableCodec) -> dict[int, Flags]:
    """For each column the codes (K,) that an imputed cell must not have: NULL."""
    return {c: np.arange(it.levels) == it.levels - 1 for c, it in enumerate(codec.columns) if it.missing}


def row_hashes(table: pa.Table) -> NDArray[np.uint64]:
    """(N,) of each row's content, and of how many equal rows came before it."""
    from pandas.util import hash_array, hash_pandas_object

    hashes = hash_pandas_object(table.to_pandas(), index=False)
    twin = hashes.groupby(hashes).cumcount().to_numpy(np.uint64)
    return np.asarray(hash_array(hashes.to_numpy(np.uint64) + np.uint64(0x9E3779B97F4A7C15) * twin))


def _softmax(logits: Floats, barred: Flags | None) -> Floats:
    weight = np.exp(logits - logits.max(axis=1, keepdims=True))
    if barred is not None:
        weight = weight * ~barred
    share: Floats = weight / np.maximum(weight.sum(axis=1, keepdims=True), np.float32(1e-30))
    return share


def _is_null(column: pa.Array) -> Flags:
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False))


def _merged(table: pa.Table, schema: TableSchema, found: list[Filled]) -> pa.Table:
    """The table with these cells where it has none."""
    for c, column in enumerate(schema.modelled):
        mine = [f for f in found if f.column == c]
        if not mine:
            continue
        values = combined(table, column)
        place: Codes = np.full(len(values), -1, np.int64)
        place[np.concatenate([f.rows for f in mine])] = np.arange(sum(len(f.rows) for f in mine))
        made = pa.concat_arrays([f.values.cast(values.type) for f in mine])
        drawn = made.take(pa.array(place, mask=place < 0))
        filled = pc.if_else(values.is_valid(), values, drawn)
        table = table.set_column(table.column_names.index(column.name), column.name, filled)
    return table
