"""Linkability: two halves of one person's columns, brought together through the synthetic table.

After Giomi et al. (2023): an attacker who has half of a person's columns in one place and half in
another takes the synthetic row nearest to each, and links them where it is the same row.
"""

import numpy as np
from numpy.typing import NDArray

from tabdar_pipeline.quality.attacks.risk import Rate, Risk
from tabdar_pipeline.quality.attacks.sides import Points, Sides

ATTACKS = 1_000
ROWS = 20_000  # synthetic rows that the attacker sees
HALVES = 4  # ways to divide the columns
_TIE = 1e-5  # of a column's spread: among rows equally near, any


def linkability(sides: Sides, rng: np.random.Generator) -> Risk:
    """Success: the row nearest in one half of the columns is the nearest in the other."""
    made = Points.of(sides.synthetic.sample(ROWS, rng), sides.train)
    if made.columns < 2 or not len(made):
        nothing = Rate.of(0, 0)
        return Risk.of(nothing, nothing, nothing)
    train, control = (
        _linked(Points.of(it.sample(ATTACKS, rng), sides.train), made, rng)
        for it in (sides.train, sides.holdout)
    )
    blind = rng.integers(len(made), size=(2, ATTACKS))
    return Risk.of(train, control, Rate.of(int((blind[0] == blind[1]).sum()), ATTACKS))


def _linked(targets: Points, made: Points, rng: np.random.Generator) -> Rate:
    hits = 0
    for part in range(HALVES):
        mine = Points(targets.numbers[:, part::HALVES], targets.codes[:, part::HALVES])
        columns = rng.permutation(made.columns)
        one, other = (_nearest(mine, made, half, rng) for half in np.array_split(columns, 2))
        hits += int((one == other).sum())
    return Rate.of(hits, len(targets))


def _nearest(
    targets: Points, made: Points, columns: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.intp]:
    tie = (_TIE * rng.random(len(made))).astype(np.float32)
    found = [(block.distances(made, columns.tolist()) + tie).argmin(axis=1) for block in targets.blocks(made)]
    return np.concatenate(found) if found else np.zeros(0, np.intp)
