"""How alike two tables are: column by column, pair by pair, and in where their rows lie."""

import numpy as np
from numpy.typing import NDArray

from tabdar_pipeline.quality.plain import Plain, one_hot

Floats = NDArray[np.float64]
BINS = 10


def shape_errors(real: Plain, other: Plain) -> dict[str, float]:
    """Percent per column: Kolmogorov-Smirnov distance of numbers, total variation of categories."""
    from scipy.stats import ks_2samp

    numbers = [
        ks_2samp(real.numbers[:, p], other.numbers[:, p], method="asymp").statistic
        for p in range(real.numbers.shape[1])
    ]
    categories = [np.abs(_shares(real, q) - _shares(other, q)).sum() / 2 for q in range(len(real.levels))]
    return {n: 100 * float(e) for n, e in zip(real.names, [*numbers, *categories], strict=True)}


def jensen_shannon(real: Plain, other: Plain) -> float:
    """Mean over columns of the Jensen-Shannon distance, numbers in ten bins of the real range."""
    from scipy.spatial.distance import jensenshannon

    distances = []
    for p in range(real.numbers.shape[1]):
        shares = [np.bincount(_bins(real, t, p), minlength=BINS) / len(t) for t in (real, other)]
        distances.append(float(jensenshannon(shares[0], shares[1])))
    distances += [float(jensenshannon(_shares(real, q), _shares(other, q))) for q in range(len(real.levels))]
    return float(np.nanmean(distances))


def pair_errors(real: Plain, other: Plain) -> Floats:
    """Percent per pair of columns (C, C), NaN on the diagonal and where a correlation is undefined.

    Half the difference of Pearson correlations for two numbers; total variation of the joint
    table otherwise, numbers in ten bins.
    """
    p, c = real.numbers.shape[1], len(real.names)
    errors = np.full((c, c), np.nan)
    if p:
        with np.errstate(invalid="ignore", divide="ignore"):
            r, s = (np.corrcoef(t.numbers, rowvar=False).reshape(p, p) for t in (real, other))
        errors[:p, :p] = np.abs(r - s) / 2
    sizes = [BINS] * p + list(real.levels)
    codes = [np.concatenate([_binned(real, t), t.codes], axis=1) for t in (real, other)]
    for i in range(c):
        for j in range(max(i + 1, p), c):
            shares = [
                np.bincount(t[:, i] * sizes[j] + t[:, j], minlength=sizes[i] * sizes[j]) / len(t)
                for t in codes
            ]
            errors[i, j] = errors[j, i] = np.abs(shares[0] - shares[1]).sum() / 2
    np.fill_diagonal(errors, np.nan)
    return 100 * errors


def trend_error(errors: Floats) -> float:
    """Mean over the pairs; 0 for a table of one column."""
    return float(np.nanmean(errors)) if np.isfinite(errors).any() else 0.0


def precision_recall(real: Plain, other: Plain) -> tuple[float, float]:
    """alpha-precision and beta-recall in percent (Alaa et al. 2022), on the plain one-hot embedding."""
    from sklearn.neighbors import NearestNeighbors

    x, y = one_hot(real, real), one_hot(other, real)
    alphas = np.linspace(0, 1, 30)
    radii = np.quantile(np.linalg.norm(x - x.mean(0), axis=1), alphas)
    to_center = np.linalg.norm(y - x.mean(0), axis=1)
    precision = np.array([(to_center <= r).mean() for r in radii])
    own = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(x).kneighbors(x)[0][:, 1]
    distance, nearest = (
        a[:, 0] for a in NearestNeighbors(n_neighbors=1, algorithm="brute").fit(y).kneighbors(x)
    )
    to_other = np.linalg.norm(y[nearest] - y.mean(0), axis=1)
    near = distance <= own
    recall = np.array([(near & (to_other <= r)).mean() for r in np.quantile(to_other, alphas)])
    return _agreement(alphas, precision), _agreement(alphas, recall)


def _agreement(alphas: Floats, curve: Floats) -> float:
    """100 where the curve is the diagonal."""
    return 100 * float(1 - np.abs(alphas - curve).sum() / alphas.sum())


def _shares(it: Plain, q: int) -> Floats:
    return np.bincount(it.codes[:, q], minlength=it.levels[q]) / max(len(it), 1)


def _bins(real: Plain, it: Plain, p: int) -> NDArray[np.int64]:
    """Which of ten bins of the real range (N,), from its low end: a narrow range far from zero has bins, too."""
    low = real.numbers[:, p].min(initial=np.inf)
    edges = np.histogram_bin_edges(real.numbers[:, p] - low, BINS)
    return np.digitize(it.numbers[:, p] - low, edges[1:-1])


def _binned(real: Plain, it: Plain) -> NDArray[np.int64]:
    columns = [_bins(real, it, p) for p in range(real.numbers.shape[1])]
    return np.stack(columns, axis=1) if columns else np.zeros((len(it), 0), np.int64)
