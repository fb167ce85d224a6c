"""Synthetic rows, block by block: block b is the same whoever draws it.

B rows, C modelled columns.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline.codec.table import Block, TableCodec
from tabdar_pipeline.conditions import Conditions
from tabdar_pipeline.errors import ConditionError
from tabdar_pipeline.sampling.complete import complete
from tabdar_pipeline.sampling.draws import BLOCK_ROWS, START, Draws, Place
from tabdar_pipeline.sampling.engine import Cells, Engine
from tabdar_pipeline.sampling.resampled import SPARE, resampled
from tabdar_pipeline.sampling.ties import leaders_first
from tabdar_pipeline.schemas.table import TableSchema

TRIES = 10  # times that rows which break a constraint are drawn again
CANDIDATES = 4  # rows drawn for each of them

Chosen = Sequence[NDArray[np.intp]]  # for each given column, which value each row has (B,)


@dataclass(frozen=True, slots=True)
class Table:
    """A synthetic table to be drawn."""

    engine: Engine
    codec: TableCodec
    schema: TableSchema
    rows: int
    seed: int
    conditions: Conditions
    place: Place = START

    def batches(self, blocks: Sequence[int] | None = None) -> Iterator[pa.RecordBatch]:
        """All blocks, or these; `engine.workers` are drawn side by side, and come in order."""
        self.codec.refuse_too_many(self.place.row + self.rows, self.schema)
        which = [given.of_rows(self.rows, self.seed) for given in self.conditions.given]
        todo = iter(range(math.ceil(self.rows / BLOCK_ROWS)) if blocks is None else blocks)
        workers = self.engine.workers
        with ThreadPoolExecutor(workers) as pool:
            drawn = deque(pool.submit(self._block, b, which) for b in islice(todo, 2 * workers))
            while drawn:
                yield drawn.popleft().result()
                drawn.extend(pool.submit(self._block, b, which) for b in islice(todo, 1))

    def _block(self, block: int, which: Chosen) -> pa.RecordBatch:
        first = block * BLOCK_ROWS
        chosen = [np.resize(of_row[first : first + BLOCK_ROWS], BLOCK_ROWS) for of_row in which]
        cells = self._cells(block, chosen, BLOCK_ROWS, stream=0)
        batch = self._redrawn(block, cells, self._decoded(cells, first), chosen)
        for given, values in zip(self.conditions.given, chosen, strict=True):
            name = self.schema.modelled[given.column].name
            place = batch.schema.names.index(name)
            batch = batch.set_column(place, name, given.values.take(pa.array(values)))
        return batch.slice(0, min(BLOCK_ROWS, self.rows - first))

    def _decoded(self, cells: Cells, first: int) -> pa.RecordBatch:
        conditions = self.conditions
        fixed = [g.column for g in conditions.given] + list(conditions.limits)
        names = [self.schema.modelled[c].name for c in fixed]
        with self.engine.watch.time("decoding"):
            block = Block(cells.codes, cells.values, self.place.row + first, self.seed)
            return self.codec.decode(block, self.schema, fixed=names)

    def _redrawn(self, block: int, cells: Cells, batch: pa.RecordBatch, chosen: Chosen) -> pa.RecordBatch:
        """The batch, with the rows that break a constraint drawn again, as often as it may take."""
        rules = self.codec.rules
        for attempt in range(1, TRIES + 1):
            bad = np.flatnonzero(rules.broken(pa.Table.from_batches([batch])))
            if not len(bad):
                break
            spare = np.repeat(bad, CANDIDATES)
            drawn = self._cells(block, [of_row[spare] for of_row in chosen], len(spare), stream=2 * attempt)
            whole = ~rules.broken(pa.Table.from_batches([self._decoded(drawn, 0)]))
            kept = whole.reshape(len(bad), CANDIDATES)
            taken = np.arange(len(bad)) * CANDIDATES + kept.argmax(axis=1)
            good = kept.any(axis=1)
            cells.codes[bad[good]] = drawn.codes[taken[good]]
            cells.values[bad[good]] = drawn.values[taken[good]]
            batch = self._decoded(cells, block * BLOCK_ROWS)
            self.engine.watch.count("redrawn", int(good.sum()))
        else:
            self._refuse_impossible(pa.Table.from_batches([batch]))
        return batch

    def _refuse_impossible(self, drawn: pa.Table) -> None:
        """Raise ConditionError where no row under the conditions keeps the constraints, however often drawn."""
        rules, asked = self.codec.rules, self.conditions.given or self.conditions.limits
        if asked and rules.broken(drawn).all():
            broken = "; ".join(c.sentence for c in rules.constraints if c.broken(drawn).any())
            raise ConditionError(
                f"table {self.schema.name!r}: some row must be able to satisfy the condition and every constraint, "
                f"however none that was drawn keeps: {broken or 'the range of a total'}. Change the condition."
            )

    def _cells(self, block: int, chosen: Chosen, rows: int, *, stream: int) -> Cells:
        """Given cells first, then the limited columns, then all others."""
        columns, limits = len(self.engine.offsets) - 1, self.conditions.limits
        ties = self.conditions.ties or self.codec.rules.ties
        cells, visible = Cells.empty(rows, columns), np.zeros((rows, columns), bool)
        for given, values in zip(self.conditions.given, chosen, strict=True):
            cells.codes[:, given.column] = given.codes[values]
            cells.values[:, given.column] = given.residuals[values]
            visible[:, given.column] = True
        draws = Draws.of(self.seed, self.place.block + block, columns, rows, stream)
        draws = replace(draws, order=leaders_first(draws.order, ties))
        if len(limits) > 1:
            spare = Draws.of(self.seed, self.place.block + block, columns, SPARE * rows, stream + 1)
            cells = resampled(self.engine, cells, visible, limits, spare, ties)
            visible[:, list(limits)] = True
        beginning = draws.beginning(limits)
        return complete(self.engine, cells, visible, ~visible, beginning, limits, ties).cells
