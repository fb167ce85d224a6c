"""What a synthetic table gives away: closeness to training rows, copies, impossible values."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from tabdar_pipeline.quality.plain import Plain, one_hot

BLOCK = 250


def dcr_share(train: Plain, holdout: Plain, other: Plain) -> float:
    """Share of rows nearer to a training row than to a holdout row, as if both were as many.

    0.5 where no row is remembered, 1 where all are. L1 distance, numbers on the training range, a
    differing category counts 2. A larger pool is nearer by chance: its odds are divided by its size.
    """
    a, b, s = (one_hot(t, train) for t in (train, holdout, other))
    near, far = _nearest(s, a), _nearest(s, b)
    share = float((near < far).mean() + (near == far).mean() * len(a) / (len(a) + len(b)))
    weighted = share * len(b)
    return weighted / (weighted + (1 - share) * len(a))


def copies(train: Plain, other: Plain) -> float:
    """Share of rows that equal a training row."""
    seen = set(keys(train).tolist())
    return float(np.mean([key in seen for key in keys(other).tolist()])) if len(other) else 0.0


def twins(train: Plain) -> float:
    """Share of training rows that another training row equals: what a fresh real row would score."""
    rows = Counter(keys(train).tolist())
    return sum(n for n in rows.values() if n > 1) / max(len(train), 1)


def off_support(train: Plain, other: Plain) -> float:
    """Share of rows with a level, a range or a fraction that the training rows lack."""
    low, high = (f(axis=0) for f in (train.numbers.min, train.numbers.max)) if train.numbers.size else (0, 0)
    bad = ((other.numbers < low) | (other.numbers > high)).any(axis=1)
    whole = (train.numbers == np.rint(train.numbers)).all(axis=0)
    bad |= (whole & (other.numbers != np.rint(other.numbers))).any(axis=1)
    for q in range(len(train.levels)):
        bad |= ~np.isin(other.codes[:, q], np.unique(train.codes[:, q]))
    return float(bad.mean())


def _nearest(rows: NDArray[np.float32], pool: NDArray[np.float32]) -> NDArray[np.float32]:
    from scipy.spatial.distance import cdist

    blocks = np.array_split(rows, max(1, len(rows) // BLOCK))
    return np.concatenate([cdist(block, pool, "cityblock").min(axis=1) for block in blocks])


def keys(it: Plain) -> NDArray[np.void]:
    """(N,) one value a row, equal where the rows are."""
    rows = np.ascontiguousarray(np.concatenate([it.numbers, it.codes], axis=1)) + 0.0  # -0 is 0
    return rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
