"""Missing cells filled by the model: drawn, or estimated from their distribution given the row.

B rows, C modelled columns, K codes of a column.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabdar_pipeline.codec.category import CategoryCodec
from tabdar_pipeline.codec.table import Block, TableCodec, combined, decode_column
from tabdar_pipeline.earlier import Evidence, with_earlier
from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.sampling.complete import complete, marginals
from tabdar_pipeline.sampling.draws import BLOCK_ROWS, Draws
from tabdar_pipeline.sampling.engine import Cells, Codes, Engine, Floats
from tabdar_pipeline.sampling.limits import Limit
from tabdar_pipeline.sampling.memory import Flags
from tabdar_pipeline.sampling.ties import leaders_first
from tabdar_pipeline.schemas.columns import Column, Kind
from tabdar_pipeline.schemas.conformity import conformed
from tabdar_pipeline.schemas.rowhash import row_hashes
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.schemas.types import arrow_type

Point = Literal["draw", "mean", "median", "mode"]
ORDERS = 4  # in which the visible columns are read; an estimate is the mean over them
NUMBER = Column("draw", Kind.NUMBER, "int32", "INTEGER", nullable=False)  # of several copies

Progress = Callable[[int, int], None]  # rows done, rows to do


@dataclass(frozen=True, slots=True)
class Request:
    """What to fill, and how. An estimate of a category is its mode."""

    seed: int = 0
    point: Point = "draw"
    columns: tuple[str, ...] | None = None  # all where None
    draws: int = 1
    rank: float = 0.5  # of a median; another is another quantile
    nulls: bool = False  # whether a drawn cell may be NULL: it may in a synthetic row

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        if self.point not in get_args(Point):
            raise UsageError(
                f"point must be one of {', '.join(get_args(Point))}, however it is {self.point!r}. Choose one."
            )
        if self.draws < 1:
            raise UsageError(f"draws must be at least 1, however: draws={self.draws}. Raise it.")
        if self.columns is not None and not any(self.columns):
            raise UsageError(
                "columns to impute must be named, however none is. Name some, or leave `columns` out to fill all."
            )
        if self.draws > 1 and self.point != "draw":
            raise UsageError(
                f"several draws must be drawn, however: draws={self.draws}, point={self.point}. Drop one."
            )

    def refuse_unknown(self, schema: TableSchema) -> None:
        """Raise UsageError where columns are asked for that a table does not have."""
        unknown = [name for name in self.columns or () if name not in schema.names]
        if unknown:
            raise UsageError(
                f"table {schema.name!r}: columns to impute must be its own ({', '.join(map(repr, schema.names))}), "
                f"however it has none of the name {', '.join(map(repr, unknown))}. Choose among them."
            )

    def refuse_unmodelled(self, schema: TableSchema) -> None:
        """Raise UsageError where columns are asked for that no model of this table has."""
        names = [c.name for c in schema.modelled]
        unknown = [name for name in self.columns or () if name not in names]
        if unknown:
            raise UsageError(
                f"table {schema.name!r}: columns to impute must be modelled ones ({', '.join(map(repr, names))}), "
                f"however: {', '.join(map(repr, unknown))}. Choose among them."
            )

    def of_draw(self, draw: int) -> "Request":
        """The n-th of several draws alone; the first has the seed itself."""
        return replace(self, seed=self.seed + 1_000_003 * draw, draws=1)


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
) -> Iterator[pa.Table]:
    """Fill missing cells, a copy of the table a draw; observed cells stay, and so do complete rows.

    A level that the model never saw is kept, and is no evidence. What a row is given does not
    depend on the rows beside it: its draws are a function of the seed and of its own content.
    """
    table = conformed(table, schema)
    gaps = _gaps(codec, schema, table, request)
    blocks = [gaps.part(slice(i, i + BLOCK_ROWS)) for i in range(0, len(gaps.rows), BLOCK_ROWS)]
    fill = _drawn if request.point == "draw" else _estimated
    for draw in range(request.draws):
        one, found = request.of_draw(draw), list[Filled]()

        def work(block: _Gaps, one: Request = one) -> list[Filled]:
            return [*fill(engine, codec, schema, block, one)]

        with ThreadPoolExecutor(engine.workers) as pool:
            for done, filled in enumerate(pool.map(work, blocks), start=1):
                found += filled
                if progress is not None:
                    progress(
                        draw * len(gaps.rows) + min(done * BLOCK_ROWS, len(gaps.rows)),
                        request.draws * len(gaps.rows),
                    )
        yield _merged(table, schema, found)


def complete_rows(
    engine: Engine,
    codec: TableCodec,
    schema: TableSchema,
    rows: pa.Table,
    *,
    seed: int,
    draws: int = 1,
    progress: Progress | None = None,
) -> Iterator[pa.Table]:
    """Synthetic rows that begin as these: columns that `rows` lacks, and its missing cells, are drawn.

    Columns that are not modelled are made anew where `rows` lacks them.
    """
    numbered_schema(schema, draws)
    unknown = [name for name in rows.column_names if name not in schema.names]
    if unknown:
        raise UsageError(
            f"given rows must have columns of {schema.name!r} only, however: "
            f"{', '.join(map(repr, unknown))}. Leave them out, or rename them."
        )
    table = widened(codec, schema, rows, seed)
    request = Request(seed, draws=draws, nulls=True)
    for draw, copy in enumerate(impute(engine, codec, schema, table, request, progress)):
        yield numbered(copy, draw, draws)


def widened(codec: TableCodec, schema: TableSchema, rows: pa.Table, seed: int) -> pa.Table:
    """All columns of the schema, in its types: NULL to be drawn, or made."""
    arrays = []
    for column in schema.columns:
        kind = arrow_type(column.arrow_type)
        if column.name in rows.column_names:
            arrays.append(_cast(combined(rows, column), kind, column))
        elif column.modelled:
            arrays.append(pa.nulls(len(rows), kind))
        else:
            arrays.append(codec.made[column.name].generate(0, len(rows), seed, kind))
    return pa.Table.from_arrays(arrays, names=list(schema.names))


def _cast(values: pa.Array, kind: pa.DataType, column: Column) -> pa.Array:
    if values.type == kind:
        return values
    try:
        plain = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
        return plain.cast(kind.value_type).cast(kind) if pa.types.is_dictionary(kind) else plain.cast(kind)
    except pa.ArrowException as error:
        raise UsageError(
            f"given column {column.name!r} must be of type {column.sql_type}, however it is "
            f"{values.type}: {error}. Cast it."
        ) from error


def numbered(table: pa.Table, draw: int, draws: int) -> pa.Table:
    """The copy with the number of its draw in front, where there are several."""
    if draws == 1:
        return table
    return table.add_column(0, NUMBER.name, pa.array(np.full(len(table), draw + 1, np.int32)))


def numbered_schema(schema: TableSchema, draws: int) -> TableSchema:
    """The schema of numbered copies; refuses a table that has such a column of its own."""
    if draws == 1:
        return schema
    if NUMBER.name in schema.names:
        raise UsageError(
            f"table {schema.name!r} must have no column {NUMBER.name!r} of its own where draws are numbered, "
            "however it has one. Draw once at a time, each with its own seed."
        )
    return replace(schema, columns=(NUMBER, *schema.columns))


@dataclass(frozen=True, slots=True)
class _Gaps:
    """The rows that miss something: what they show, and what is asked of them."""

    rows: NDArray[np.intp]  # (B,) their places in the table
    shown: Evidence
    wanted: Flags  # (B, C) cells to fill
    asked: Flags  # (B, C) cells to draw for it: what a wanted one is counted or summed from, too

    def part(self, here: slice) -> "_Gaps":
        return _Gaps(self.rows[here], self.shown.part(here), self.wanted[here], self.asked[here])

    def filled(self, schema: TableSchema, values: Mapping[str, pa.Array]) -> Iterator[Filled]:
        """The wanted cells of these columns (B,)."""
        for c, column in enumerate(schema.modelled):
            here = np.flatnonzero(self.wanted[:, c])
            if len(here):
                yield Filled(c, self.rows[here], values[column.name].take(pa.array(here)))


def _gaps(codec: TableCodec, schema: TableSchema, table: pa.Table, request: Request) -> _Gaps:
    """The rows that miss a cell of the requested columns."""
    request.refuse_unmodelled(schema)
    names = [c.name for c in schema.modelled]
    missing = np.stack([_is_null(combined(table, c)) for c in schema.modelled], axis=1)
    wanted = missing & np.array([request.columns is None or name in request.columns for name in names])
    rows = np.flatnonzero(wanted.any(axis=1))
    part = table.select(list(schema.names)).take(pa.array(rows))
    encoded = codec.encode(part, schema)
    visible = encoded.known & ~missing[rows]
    shown = Evidence(
        Cells(encoded.codes.astype(np.int64), encoded.values),
        visible,
        _draw_keys(row_hashes(part)),
        {name: combined(part, schema[name]) for name in codec.rules.tied},
    )
    return _Gaps(rows, shown, wanted[rows], codec.rules.asked(wanted[rows], visible, names))


def _drawn(
    engine: Engine, codec: TableCodec, schema: TableSchema, gaps: _Gaps, request: Request
) -> Iterator[Filled]:
    """One draw of each row's missing cells together."""
    ties = codec.rules.ties
    order = leaders_first(Draws.of(request.seed, 0, len(codec.columns), rows=1).order, ties)
    draws = Draws.of_rows(request.seed, gaps.shown.hashes, order)
    limits = {} if request.nulls else _no_nulls(codec)
    shown = with_earlier(engine, codec, schema, gaps.shown, request.seed)
    asked = gaps.asked & ~shown.visible
    cells = complete(engine, shown.cells, shown.visible, asked, draws, limits, ties).cells
    decoded = codec.decode(Block(cells.codes, cells.values, 0, request.seed), schema, shown.observed)
    yield from gaps.filled(schema, {name: decoded[name] for name in schema.names})


def _estimated(
    engine: Engine, codec: TableCodec, schema: TableSchema, gaps: _Gaps, request: Request
) -> Iterator[Filled]:
    """Each missing cell by itself, given what its row shows: mean, median or mode."""
    limits, rows = _no_nulls(codec), len(gaps.rows)
    shares = {c: np.zeros((rows, codec.columns[c].levels), np.float32) for c in _columns(gaps.asked)}
    for i in range(ORDERS):
        order = Draws.of(request.seed, i, len(codec.columns), rows=1).order
        both = with_earlier(engine, codec, schema, gaps.shown, request.seed + i)
        for shown, asked in (
            (both, gaps.asked & ~both.visible),
            (gaps.shown, gaps.asked & both.visible),  # an earlier time itself, counted back from the later
        ):
            found = marginals(engine, shown.cells, shown.visible, asked, order, codec.rules.ties)
            for c, logits in found:
                here = asked[:, c]
                shares[c][here] += _shares(logits[here], limits.get(c)) / np.float32(ORDERS)
    points = dict[str, pa.Array]()
    for c, share in shares.items():
        column = schema.modelled[c]
        points[column.name] = _point(codec, c, share, codec.rules.kind(column), request)
    yield from gaps.filled(schema, codec.rules.estimated(points, schema, gaps.shown.observed))


def _columns(flags: Flags) -> list[int]:
    """Those that any row flags."""
    return [int(c) for c in np.flatnonzero(flags.any(axis=0))]


def _point(codec: TableCodec, c: int, share: Floats, kind: pa.DataType, request: Request) -> pa.Array:
    """The estimate (B,) of one column from the shares of its codes (B, K)."""
    column = codec.columns[c]
    if isinstance(column, CategoryCodec) or request.point == "mode":
        return decode_column(column, share.argmax(axis=1), np.zeros(len(share)), kind)
    places = column.places()  # (K, Q)
    if request.point == "mean":
        return column.line.column(share @ places.mean(axis=1), kind)
    order = np.argsort(places, axis=None, kind="stable")
    spread = np.repeat(share / places.shape[1], places.shape[1], axis=1)[:, order]
    middle = (np.cumsum(spread, axis=1) < request.rank * spread.sum(axis=1, keepdims=True)).sum(axis=1)
    return column.line.column(places.ravel()[order][np.minimum(middle, len(order) - 1)], kind)


def _no_nulls(codec: TableCodec) -> Mapping[int, Limit]:
    """An imputed cell is any code but NULL, the last one of a column that has it."""
    return {c: Limit.of_codes(np.arange(it.levels - 1)) for c, it in enumerate(codec.columns) if it.missing}


def _shares(logits: Floats, limit: Limit | None) -> Floats:
    """What each code (B, K) weighs; nothing where it must not be drawn."""
    share = np.zeros_like(logits)
    open_ = slice(None) if limit is None else limit.codes
    weight = np.exp(logits[:, open_] - logits[:, open_].max(axis=1, keepdims=True))
    share[:, open_] = weight / weight.sum(axis=1, keepdims=True)
    return share


def _draw_keys(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(B,) of each row's hash, and of how many equal rows came before it: these are drawn apart."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    first = np.searchsorted(ordered, ordered)
    twin = np.empty(len(hashes), np.uint64)
    twin[order] = np.arange(len(hashes)) - first
    return hashes + np.uint64(0x9E3779B97F4A7C15) * twin


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
