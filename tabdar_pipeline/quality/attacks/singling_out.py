"""Singling out: a description made from the synthetic table that fits exactly one real row.

After Giomi et al. (2023), the multivariate attack: a few columns of a synthetic row, a number as a bound
away from its median, a category as it is. What singles a row out among the synthetic rows is tried on
as many training rows, and on as many that no model saw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from tabdar_pipeline.quality.attacks.risk import Rate, Risk
from tabdar_pipeline.quality.attacks.sides import Sides, spreads
from tabdar_pipeline.quality.plain import Plain

ATTACKS = 1_000
TRIES = 20  # guesses for each that singles out
COLUMNS = 6  # of a guess at most
ROWS = 20_000  # of each table at most
SLACK = 0.025  # of a number's spread, towards the median: a little noise hides no row


@dataclass(frozen=True, slots=True)
class Cells:
    """Rows column by column, numbers first, then categories."""

    columns: tuple[NDArray[np.float64], ...]  # (N,) each
    medians: tuple[float, ...]  # of the numbers
    slack: tuple[float, ...]

    @classmethod
    def of(cls, it: Plain) -> Self:
        """From plain rows."""
        columns = (*it.numbers.T.copy(), *it.codes.T.astype(np.float64))
        return cls(columns, tuple(np.median(it.numbers, axis=0)), tuple(SLACK * spreads(it)))

    def __len__(self) -> int:
        """N, the number of rows."""
        return len(self.columns[0])


@dataclass(frozen=True, slots=True)
class Bound:
    """What a guess says of one column."""

    column: int
    value: float
    sign: Literal["=", "<=", ">="]

    def fits(self, rows: Cells) -> NDArray[np.bool_]:
        """(N,) which rows it holds for."""
        compare = {"=": np.equal, "<=": np.less_equal, ">=": np.greater_equal}[self.sign]
        return np.asarray(compare(rows.columns[self.column], self.value))


Guess = tuple[Bound, ...]


def singling_out(sides: Sides, rng: np.random.Generator) -> Risk:
    """Success: exactly one row fits."""
    pool = min(len(sides.train), len(sides.holdout), ROWS)
    if not pool or not len(sides.synthetic):
        nothing = Rate.of(0, 0)
        return Risk.of(nothing, nothing, nothing)
    made = Cells.of(sides.synthetic.sample(ROWS, rng))
    train, control = (Cells.of(it.sample(pool, rng)) for it in (sides.train, sides.holdout))
    guesses = _guesses(made, rng)
    blind = [_guess(made, rng, one_row=False) for _ in guesses]
    return Risk.of(_rate(guesses, train), _rate(guesses, control), _rate(blind, train))


def _rate(guesses: Sequence[Guess], rows: Cells) -> Rate:
    return Rate.by_row(np.array([_singled_out(guess, rows) for guess in guesses], np.intp))


def _guesses(made: Cells, rng: np.random.Generator) -> list[Guess]:
    """Different guesses that single out a synthetic row."""
    found: dict[Guess, None] = {}
    for _ in range(TRIES * ATTACKS):
        guess = _guess(made, rng, one_row=True)
        if guess not in found and _singled_out(guess, made) >= 0:
            found[guess] = None
        if len(found) == ATTACKS:
            break
    return list(found)


def _guess(made: Cells, rng: np.random.Generator, *, one_row: bool) -> Guess:
    """Of some columns of one row; or each of a row of its own, which is to know columns but no person."""
    width = len(made.columns)
    count = int(rng.integers(min(2, width), min(COLUMNS, width) + 1))
    columns = np.sort(rng.choice(width, count, replace=False)).tolist()
    rows = np.broadcast_to(rng.integers(len(made), size=1 if one_row else count), count).tolist()
    return tuple(_bound(made, c, float(made.columns[c][r])) for c, r in zip(columns, rows, strict=True))


def _bound(made: Cells, column: int, value: float) -> Bound:
    if column >= len(made.medians):
        return Bound(column, value, "=")
    if value > made.medians[column]:
        return Bound(column, value - made.slack[column], ">=")
    return Bound(column, value + made.slack[column], "<=")


def _singled_out(guess: Guess, rows: Cells) -> int:
    """The only row that fits; -1 where none or several do."""
    fits = np.flatnonzero(np.logical_and.reduce([bound.fits(rows) for bound in guess]))
    return int(fits[0]) if len(fits) == 1 else -1
