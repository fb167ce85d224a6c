"""Times of which only the later is known: the earlier is drawn first, and then both tell of the rest of the row.

The later one is modelled by its distance from the earlier, so alone it would say nothing. Distances are drawn without
it, and one is chosen by how well the time that it leads to fits the row: sampling, importance, resampling (Rubin 1988).

B rows, C modelled columns, K codes of a column.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabdar_pipeline.codec.number import NumberCodec
from tabdar_pipeline.codec.rules import earlier
from tabdar_pipeline.codec.table import ColumnCodec, TableCodec, decode_column, encode_column
from tabdar_pipeline.sampling.complete import complete, logsumexp, marginals, pick
from tabdar_pipeline.sampling.draws import Draws
from tabdar_pipeline.sampling.engine import Cells, Codes, Engine, Floats
from tabdar_pipeline.sampling.limits import Limit
from tabdar_pipeline.sampling.memory import Flags
from tabdar_pipeline.sampling.ties import BARRED
from tabdar_pipeline.schemas.table import TableSchema

CANDIDATES = 8  # distances, of which one is chosen
_APART = np.uint64(0xD1B54A32D192ED03)  # candidates of one row have draws of their own


@dataclass(frozen=True, slots=True)
class Evidence:
    """What rows show."""

    cells: Cells
    visible: Flags  # (B, C)
    hashes: NDArray[np.uint64]  # (B,) of their content
    observed: Mapping[str, pa.Array]  # (B,) of columns that constraints tie together

    def part(self, here: slice | Codes) -> "Evidence":
        """Some of the rows."""
        observed = {n: a[here] if isinstance(here, slice) else a.take(here) for n, a in self.observed.items()}
        cells = Cells(self.cells.codes[here], self.cells.values[here])
        return Evidence(cells, self.visible[here], self.hashes[here], observed)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A time that is modelled by its distance from another."""

    high: str
    low: str
    distance: int  # place of the modelled distance among the columns
    start: int  # of the earlier time


def with_earlier(
    engine: Engine, codec: TableCodec, schema: TableSchema, rows: Evidence, seed: int
) -> Evidence:
    """The rows with an earlier time wherever a later one is known; both are visible then."""
    names = [c.name for c in schema.modelled]
    for high in reversed(codec.rules.chain):
        low = codec.rules.gaps[high]
        alone = pc.and_(rows.observed[high].is_valid(), rows.observed[low].is_null())
        here = np.flatnonzero(np.asarray(alone))
        if len(here):
            pair = _Pair(high, low, names.index(high), names.index(low))
            rows = _joined(rows, here, _chosen(engine, codec, schema, rows.part(here), pair, seed), pair)
    return rows


def _joined(rows: Evidence, here: Codes, found: Evidence, pair: _Pair) -> Evidence:
    """All rows, those found among them."""
    cells, visible = Cells(rows.cells.codes.copy(), rows.cells.values.copy()), rows.visible.copy()
    cells.codes[here], cells.values[here], visible[here] = (
        found.cells.codes,
        found.cells.values,
        found.visible,
    )
    place = np.zeros(len(visible), np.int64)
    place[here] = np.arange(len(here))
    starts = pc.coalesce(rows.observed[pair.low], found.observed[pair.low].take(pa.array(place)))
    known = pa.array(np.isin(np.arange(len(visible)), here))
    starts = pc.if_else(known, starts, rows.observed[pair.low])
    return replace(rows, cells=cells, visible=visible, observed={**rows.observed, pair.low: starts})


def _chosen(
    engine: Engine, codec: TableCodec, schema: TableSchema, rows: Evidence, pair: _Pair, seed: int
) -> Evidence:
    """The rows, all with a later time alone, with the earlier one and the distance."""
    many = np.repeat(np.arange(len(rows.visible)), CANDIDATES)
    drawn = _candidates(engine, codec, schema, rows.part(many), pair, seed)
    before = _logits(engine, codec, rows, (pair.distance, pair.start))
    after = _logits(engine, codec, drawn, (pair.distance,))
    gap, start = drawn.cells.codes[:, pair.distance], drawn.cells.codes[:, pair.start]
    weight = (
        _share(before[pair.start][many], start)
        - _width(codec.columns[pair.start])[start]
        + _share(after[pair.distance], gap)
        - _share(before[pair.distance][many], gap)
    )
    weight[~drawn.visible[:, pair.start]] = BARRED  # it lies where no such time was seen
    uniform = Draws.of_rows(seed, rows.hashes * _APART, (0,)).uniform[:, 0]
    best = pick(weight.reshape(-1, CANDIDATES), uniform)
    chosen = drawn.part(np.arange(len(best)) * CANDIDATES + best)
    chosen.visible[:, pair.distance] = True
    return chosen


def _candidates(
    engine: Engine, codec: TableCodec, schema: TableSchema, rows: Evidence, pair: _Pair, seed: int
) -> Evidence:
    """The rows with a distance drawn for each, and the earlier time that it leads to, which alone is visible."""
    asked = np.zeros_like(rows.visible)
    asked[:, pair.distance] = True
    turn = np.arange(len(asked), dtype=np.uint64) % np.uint64(CANDIDATES) + np.uint64(1)
    draws = Draws.of_rows(seed, rows.hashes + _APART * turn, tuple(range(len(codec.columns))))
    gap, limits = codec.columns[pair.distance], dict[int, Limit]()
    if gap.missing:
        limits[pair.distance] = Limit.of_codes(np.arange(gap.levels - 1))
    cells = complete(engine, rows.cells, rows.visible, asked, draws, limits, codec.rules.ties).cells
    ticks = decode_column(gap, cells.codes[:, pair.distance], cells.values[:, pair.distance], pa.int64())
    start = earlier(rows.observed[pair.high], ticks)
    observed = {**rows.observed, pair.low: start}
    modelled = codec.rules.modelled(pa.table(observed), schema[pair.low]).combine_chunks()
    found = encode_column(codec.columns[pair.start], modelled)
    fits = found.codes >= 0
    if pair.low in codec.rules.gaps:  # its own start must not be after it
        fits &= np.asarray(pc.fill_null(pc.greater_equal(modelled, 0), fill_value=True))
    cells.codes[:, pair.start] = np.maximum(found.codes, 0)
    cells.values[:, pair.start] = found.residuals
    visible = rows.visible.copy()
    visible[:, pair.start] = fits
    return replace(rows, cells=cells, visible=visible, observed=observed)


def _logits(engine: Engine, codec: TableCodec, rows: Evidence, columns: tuple[int, ...]) -> dict[int, Floats]:
    """Of these columns the logits (B, K), each given what the rows show."""
    asked = np.zeros_like(rows.visible)
    asked[:, list(columns)] = True
    order = tuple(range(len(codec.columns)))
    return dict(marginals(engine, rows.cells, rows.visible, asked, order, codec.rules.ties))


def _share(logits: Floats, codes: Codes) -> Floats:
    """(B,) log probability of one code a row."""
    return np.asarray(logits[np.arange(len(codes)), codes] - logsumexp(logits), np.float32)


def _width(codec: ColumnCodec) -> Floats:
    """(K,) log of how far each code's values lie apart: what makes a density of a probability."""
    assert isinstance(codec, NumberCodec)
    places = codec.places()
    return np.asarray(np.log(np.maximum(places[:, -1] - places[:, 0], 1)), np.float32)
