"""Near copies: synthetic rows that are a training row but for a little noise."""

import numpy as np
from numpy.typing import NDArray

from tabdar_pipeline.quality.attacks.risk import Rate, Risk
from tabdar_pipeline.quality.attacks.sides import Sides, scaled
from tabdar_pipeline.quality.plain import Plain

ROWS = 4_000  # synthetic rows that are looked up among all real ones
USUAL = 0.05  # share of unseen rows that are as near to a training row
FARTHEST = 0.05  # of a number's spread: farther is not near

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def near_copies(sides: Sides, rng: np.random.Generator) -> Risk:
    """Synthetic rows that equal a training row in all categories, and nearly in every number.

    Nearly: as near as one unseen row in twenty is to a training row. Control: the same for unseen rows in
    place of the training rows, as if there were as many.
    """
    rows = sides.synthetic.sample(ROWS, rng)
    holdout = sides.holdout.sample(max(len(sides.train), 1), rng)
    unseen, _ = _alike(holdout.sample(ROWS, rng), sides.train, sides.train)
    near = min(float(np.quantile(unseen, USUAL, method="lower")), FARTHEST) if len(unseen) else FARTHEST
    train, control = (_rate(rows, pool, sides.train, near) for pool in (sides.train, holdout))
    return Risk.of(train, _in_more(control, len(sides.train) / max(len(holdout), 1)), Rate.exactly(0.0))


def _rate(rows: Plain, pool: Plain, scale: Plain, near: float) -> Rate:
    gaps, nearest = _alike(rows, pool, scale)
    return Rate.by_row(np.where(gaps <= near, nearest, -1)) if len(pool) else Rate.of(0, 0)


def _alike(rows: Plain, pool: Plain, scale: Plain) -> tuple[Floats, Indices]:
    """(N,) largest gap in a number to the nearest row of the pool with the same categories, and which it is.

    Infinite where none has the same categories and is anywhere near.
    """
    ours, theirs = scaled(rows, scale), scaled(pool, scale)
    groups = np.unique(np.concatenate([rows.codes, pool.codes]), axis=0, return_inverse=True)[1].ravel()
    mine, others = groups[: len(rows)], groups[len(rows) :]
    order = np.argsort(others, kind="stable")
    starts, ends = (np.searchsorted(others[order], mine, side) for side in ("left", "right"))
    gaps, nearest = np.full(len(rows), np.inf), np.full(len(rows), -1)
    for group in np.unique(mine[ends > starts]):
        here = np.flatnonzero(mine == group)
        members = order[starts[here[0]] : ends[here[0]]]
        gaps[here], which = _nearest(ours[here], theirs[members])
        nearest[here] = members[which]
    return gaps, nearest


def _nearest(rows: NDArray[np.float32], pool: NDArray[np.float32]) -> tuple[Floats, Indices]:
    """(N,) largest gap in a number to the nearest of the pool, infinite beyond what is near; and which it is."""
    from scipy.spatial import KDTree

    if not rows.shape[1]:
        return np.zeros(len(rows)), np.zeros(len(rows), np.intp)
    gaps, which = KDTree(pool).query(rows, p=np.inf, distance_upper_bound=2 * FARTHEST)
    return np.asarray(gaps), np.minimum(np.asarray(which), len(pool) - 1)


def _in_more(rate: Rate, times: float) -> Rate:
    """The rate of rows with a neighbour, in a pool that is so many times larger."""
    value, low, high = (1 - (1 - x) ** times for x in (rate.value, rate.low, rate.high))
    return Rate(value, low, high, rate.attacks)
