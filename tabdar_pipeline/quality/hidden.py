"""Imputation put to the test: cells that are known are hidden, filled, and compared with the truth."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline.quality.plain import plain
from tabdar_pipeline.schemas.columns import Kind
from tabdar_pipeline.schemas.table import TableSchema

SHARE = 0.3  # of the known cells, hidden at random
ROWS = 2_000
DRAWS = 20  # for the intervals
LEVEL = 0.9  # of the intervals
BAND = (0.87, 0.93)  # of how often they hold the truth, by rank
NOISE = 3  # standard errors by which chance alone may leave the band

Fill = Callable[[pa.Table], Iterable[pa.Table]]  # table with holes -> filled copies


@dataclass(frozen=True, slots=True)
class ColumnTest:
    """How well one column's hidden cells were filled."""

    column: str
    cells: int
    error: float  # RMSE over the standard deviation, or share of wrong categories
    plain_error: float  # the same for the mean or the mode of the known rows
    coverage: float | None  # share of truths inside the closed 90 % interval of the draws; numbers only
    coverage_by_rank: float | None = (
        None  # the same, where a truth that draws equal takes its place among them by lot
    )

    @property
    def better(self) -> bool:
        """Whether imputation beats the margin."""
        return self.error < self.plain_error

    @property
    def calibrated(self) -> bool:
        """Whether intervals hold the truth as often as they say, but for chance.

        By rank: a closed interval of numbers that repeat holds more, since its ends have a share of their own.
        """
        if self.coverage_by_rank is None:
            return True
        low, high = BAND
        spread = NOISE * math.sqrt(LEVEL * (1 - LEVEL) / self.cells)
        return low - spread <= self.coverage_by_rank <= high + spread


def hide(table: pa.Table, names: Sequence[str], rng: np.random.Generator) -> pa.Table:
    """The table with a share of its known cells set to NULL."""
    for name in names:
        gone = pa.array(rng.random(len(table)) < SHARE)
        values = table[name].combine_chunks()
        keep = np.flatnonzero(~np.asarray(gone.to_numpy(zero_copy_only=False)))
        place = np.full(len(table), -1, np.int64)
        place[keep] = keep
        holed = values.take(pa.array(place, mask=place < 0))
        table = table.set_column(table.column_names.index(name), name, holed)
    return table


def filling_tests(
    known: pa.Table,
    rows: pa.Table,
    schema: TableSchema,
    estimate: Callable[[pa.Table], pa.Table],
    draw: Fill,
    seed: int,
) -> list[ColumnTest]:
    """Hide cells of `rows`, fill them, and compare with what the columns of `known` alone would say."""
    rng = np.random.default_rng(seed)
    rows = rows.take(pa.array(np.sort(rng.permutation(len(rows))[:ROWS])))
    names = [c.name for c in schema.modelled]
    holed = hide(rows, names, rng)
    filled = estimate(holed)
    base, truth, guess, *spread = plain([known, rows, filled, *draw(holed)], schema)
    found = []
    for column in schema.modelled:
        before = np.asarray(rows[column.name].is_valid().to_numpy())
        here = np.flatnonzero(before & np.asarray(holed[column.name].is_null().to_numpy()))
        if not len(here):
            continue
        if column.kind is Kind.CATEGORY:
            c = base.category_names.index(column.name)
            mode = np.bincount(base.codes[:, c]).argmax()
            error, margin = (float((x != truth.codes[here, c]).mean()) for x in (guess.codes[here, c], mode))
            found.append(ColumnTest(column.name, len(here), error, margin, None))
        else:
            p = base.number_names.index(column.name)
            found.append(
                _number(
                    column.name,
                    base.numbers[:, p],
                    truth.numbers[here, p],
                    guess.numbers[here, p],
                    np.stack([it.numbers[here, p] for it in spread]),
                )
            )
    return found


def _number(
    name: str,
    known: NDArray[np.float64],
    truth: NDArray[np.float64],
    guess: NDArray[np.float64],
    draws: NDArray[np.float64],
) -> ColumnTest:
    scale = known.std() or 1.0
    error, margin = (float(np.sqrt(((x - truth) ** 2).mean()) / scale) for x in (guess, known.mean()))
    # Of n draws the i-th and the j-th hold a further one with probability (j - i) / (n + 1): Weibull's quantiles.
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0, method="weibull")
    closed = float(((truth >= low) & (truth <= high)).mean())
    ties = np.random.default_rng(len(truth)).random(len(truth)) * ((draws == truth).sum(axis=0) + 1)
    place = ((draws < truth).sum(axis=0) + ties) / (len(draws) + 1)
    ranked = float((np.abs(place - 0.5) < LEVEL / 2).mean())
    return ColumnTest(name, len(truth), error, margin, closed, ranked)
