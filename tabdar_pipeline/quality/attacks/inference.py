"""Attribute inference: the one column that is not known of a person, taken from the nearest synthetic row.

After Giomi et al. (2023). Each column is the secret once, and all others are known.
"""

import numpy as np
from numpy.typing import NDArray

from tabdar_pipeline.quality.attacks.risk import LEVEL, Rate, Risk
from tabdar_pipeline.quality.attacks.sides import Points, Sides
from tabdar_pipeline.quality.plain import Plain

ATTACKS = 1_000  # on each secret
ROWS = 20_000  # synthetic rows that the attacker sees
SECRETS = 30  # columns at most, chosen at random
WINDOW = 0.025  # of the ranks: a number within it is guessed
_TIE = 1e-5  # of a column's spread: among rows equally near, any


def inference(sides: Sides, rng: np.random.Generator) -> dict[str, Risk]:
    """By secret. Success: the same level, or a number within two and a half percent of the ranks.

    The intervals hold for all secrets together (Bonferroni), so that the worst of many is no accident.
    """
    names = sides.train.names
    made = sides.synthetic.sample(ROWS, rng)
    if len(names) < 2 or not len(made):
        return {}
    secrets = np.sort(rng.permutation(len(names))[:SECRETS])
    level = 1 - (1 - LEVEL) / len(secrets)
    targets = [it.sample(ATTACKS, rng) for it in (sides.train, sides.holdout)]
    train, control = (_guessed(it, made, sides.train, secrets, rng) for it in targets)
    blind = rng.integers(len(made), size=len(targets[0]))
    risks = {}
    for i, secret in enumerate(secrets):
        truths = [
            _right(it, made, rows[i], secret, sides.train)
            for it, rows in zip(targets, (train, control), strict=True)
        ]
        naive = _right(targets[0], made, blind, secret, sides.train)
        risks[names[secret]] = Risk.of(*(Rate.of(int(t.sum()), len(t), level) for t in (*truths, naive)))
    return risks


def _guessed(
    targets: Plain, made: Plain, train: Plain, secrets: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.intp]:
    """(S, N) of each secret and target, the synthetic row nearest in all other columns."""
    ours, theirs = Points.of(targets, train), Points.of(made, train)
    tie = (_TIE * rng.random(len(theirs))).astype(np.float32)
    found = [np.zeros((len(secrets), 0), np.intp)]
    for block in ours.blocks(theirs):
        total = block.distances(theirs, range(ours.columns)) + tie
        found.append(np.stack([(total - block.apart(theirs, c)).argmin(axis=1) for c in secrets]))
    return np.concatenate(found, axis=1)


def _right(
    targets: Plain, made: Plain, rows: NDArray[np.intp], secret: int, train: Plain
) -> NDArray[np.bool_]:
    """(N,) whether the secret of each target is that of its synthetic row."""
    p = targets.numbers.shape[1]
    if secret >= p:
        return np.asarray(targets.codes[:, secret - p] == made.codes[rows, secret - p])
    ordered = np.sort(train.numbers[:, secret])
    guess, truth = (_rank(ordered, it) for it in (made.numbers[rows, secret], targets.numbers[:, secret]))
    return np.abs(guess - truth) <= WINDOW


def _rank(ordered: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where values lie among the training rows, 0 to 1; in the middle of those equal to them."""
    below, upto = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return np.asarray((below + upto) / (2 * max(len(ordered), 1)))
