"""How well a model knows given rows: the order-agnostic likelihood that training descends, row by row.

The expectations over noise are sums at fixed places (quadrature), so that nothing but the orders is random.
B rows, C columns, M cells with a residual.
"""

import math
from collections.abc import Sequence

import numpy as np

from tabdar_pipeline.normal import score
from tabdar_pipeline.sampling.complete import logsumexp
from tabdar_pipeline.sampling.engine import Cells, Codes, Condition, Engine, Floats
from tabdar_pipeline.sampling.memory import Flags

LEVELS, NOISES = 4, 4  # of noise, and places of each at which a residual is denoised
LOG_SIGMA = (-0.8, 1.4)  # mean and spread of noise levels, as training draws them


def losses(engine: Engine, cells: Cells, known: Flags, orders: Sequence[Sequence[int]]) -> Floats:
    """(B,) cross-entropy of codes and denoising loss of residuals, the mean over orders of columns.

    known: (B, C). Unknown cells are no evidence and no target; the others weigh more in their place.
    """
    columns = known.shape[1]
    total = sum(
        (_in_order(engine, cells, known, order) for order in orders), np.zeros(len(known), np.float32)
    )
    return np.asarray(total * columns / (len(orders) * np.maximum(known.sum(axis=1), 1)), np.float32)


def _in_order(engine: Engine, cells: Cells, known: Flags, order: Sequence[int]) -> Floats:
    """(B,) the sum over known cells, each given those before it."""
    total = np.zeros(len(known), np.float32)
    with engine.memory(len(known)) as memory:
        for place, column in enumerate(order):
            rows = np.flatnonzero(known[:, column])
            total[rows] += _of_column(engine, cells, column, rows, engine.ask(memory, column))
            fresh = np.array(order[place : place + 1], np.int64)
            if engine.reveal == "paper":  # visible columns see each other: all are encoded anew
                memory.clear()
                fresh = np.array(order[: place + 1], np.int64)
            engine.remember(memory, fresh, known[:, fresh], cells)
    return total


def _of_column(engine: Engine, cells: Cells, column: int, rows: Codes, condition: Condition) -> Floats:
    """(N,) of one column's cells in these rows (N,)."""
    codes, logits = cells.codes[rows, column], condition.logits[rows]
    found = logsumexp(logits) - logits[np.arange(len(rows)), codes]
    flat = codes + engine.offsets[column]
    dense = np.flatnonzero(engine.continuous[flat])
    if len(dense):
        values = cells.values[rows[dense], column].astype(np.float32)
        found[dense] += _denoising(engine, values, condition.z[rows[dense]], flat[dense])
    return np.asarray(found, np.float32)


def _denoising(engine: Engine, values: Floats, z: Floats, flat: Codes) -> Floats:
    """(M,) the mean squared error of F over noise levels and noises: EDM's loss (Karras et al. 2022, eq. 8).

    In angles (see `heun`), F of x = cos(theta) y + sin(theta) n is to be sin(theta) y - cos(theta) n.
    """
    noises, weights = np.polynomial.hermite_e.hermegauss(NOISES)
    noise = np.repeat(noises.astype(np.float32)[:, None], len(values), axis=1)  # (NOISES, M)
    each, codes = np.tile(z, (NOISES, 1)), np.tile(flat, NOISES)
    total = np.zeros(len(values))
    for theta in _thetas():
        sine, cosine = np.float32(math.sin(theta)), np.float32(math.cos(theta))
        slope = engine.slope((cosine * values + sine * noise).ravel(), theta, each, codes)
        error = slope.reshape(noise.shape) - (sine * values - cosine * noise)
        total += weights @ error**2 / (weights.sum() * LEVELS)
    return np.asarray(total, np.float32)


def _thetas() -> list[float]:
    """Angles of noise levels in the middle of equally likely parts of their distribution."""
    ranks = (np.arange(LEVELS) + 0.5) / LEVELS
    return [math.atan(math.exp(LOG_SIGMA[0] + LOG_SIGMA[1] * float(it))) for it in score(ranks)]
