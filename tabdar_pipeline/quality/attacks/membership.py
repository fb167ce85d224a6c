"""Membership inference: whether a person's row was learned, told by how near the synthetic table comes to it.

The figure is the ROC AUC of a score, 0.5 for a coin; its interval is a bootstrap's over the rows attacked.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tabdar_pipeline.quality.attacks.risk import LEVEL, Rate, Risk
from tabdar_pipeline.quality.attacks.sides import Points, Sides

ATTACKS = 1_000  # on each side
ROWS = 20_000  # synthetic rows that the attacker sees
RESAMPLES = 500  # of the bootstrap

Floats = NDArray[np.float64]


def membership(sides: Sides, rng: np.random.Generator) -> Risk:
    """The nearer its nearest synthetic row, the likelier a row was learned."""
    return _by_neighbours(sides, rng, lambda nearest, _second: nearest)


def distance_ratio(sides: Sides, rng: np.random.Generator) -> Risk:
    """The nearer its nearest synthetic row is, against the second nearest, the likelier a row was learned.

    Near 0 where one synthetic row was made of this one, near 1 where it lies among many.
    """
    return _by_neighbours(
        sides,
        rng,
        lambda nearest, second: np.divide(nearest, second, out=np.ones_like(nearest), where=second > 0),
    )


def _by_neighbours(sides: Sides, rng: np.random.Generator, score: Callable[[Floats, Floats], Floats]) -> Risk:
    made = Points.of(sides.synthetic.sample(ROWS, rng), sides.train)
    if len(made) < 2:
        return told_apart(np.zeros(0), np.zeros(0), rng)
    train, control = (
        -score(*_two_nearest(Points.of(it.sample(ATTACKS, rng), sides.train), made).T)
        for it in (sides.train, sides.holdout)
    )
    return told_apart(train, control, rng)


def told_apart(train: Floats, control: Floats, rng: np.random.Generator) -> Risk:
    """From scores that are higher for rows thought to be learned."""
    coin = Rate.exactly(0.5)
    if not len(train) or not len(control):
        return Risk.of(Rate.of(0, 0), coin, coin)
    drawn = [_auc(rng.choice(train, len(train)), rng.choice(control, len(control))) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    auc = Rate(_auc(train, control), float(low), float(high), len(train) + len(control))
    return Risk.of(auc, coin, coin)


def _auc(ones: Floats, zeros: Floats) -> float:
    """Share of pairs in which the first is larger, ties as half."""
    ordered = np.sort(zeros)
    below, upto = (np.searchsorted(ordered, ones, side) for side in ("left", "right"))
    return float((below + upto).mean() / (2 * len(zeros)))


def _two_nearest(targets: Points, made: Points) -> Floats:
    """(N, 2) distances of each target to its two nearest synthetic rows."""
    found = [
        np.partition(block.distances(made, range(made.columns)), 1, axis=1)[:, :2]
        for block in targets.blocks(made)
    ]
    return np.concatenate([np.zeros((0, 2)), *found])
