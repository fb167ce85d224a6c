"""Membership inference on the model itself: a row that it knows better than unseen ones was learned.

After Yeom et al. (2018), with the loss as the score. It takes the model, which is not released with the table: what an
attacker could learn from the table alone is no more than this.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabdar_pipeline.quality.attacks.membership import ATTACKS, told_apart
from tabdar_pipeline.quality.attacks.risk import Risk
from tabdar_pipeline.quality.attacks.sides import alone
from tabdar_pipeline.quality.plain import Plain

Losses = Callable[[NDArray[np.intp]], NDArray[np.floating]]  # of the rows at these places


@dataclass(frozen=True, slots=True)
class Known:
    """Real rows, and how badly the model knows each of them."""

    rows: Plain
    losses: Losses


def likelihood(train: Known, holdout: Known, rng: np.random.Generator) -> Risk:
    """The lower its loss, the likelier a row was learned; rows that another row equals are not attacked."""
    return told_apart(_scores(train, rng), _scores(holdout, rng), rng)


def _scores(it: Known, rng: np.random.Generator) -> NDArray[np.float64]:
    """Of no more rows than the other attacks take."""
    chosen = rng.permutation(alone(it.rows))[:ATTACKS]
    return -np.asarray(it.losses(chosen), np.float64)
