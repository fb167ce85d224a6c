"""Classifier two-sample tests: whether a classifier can tell synthetic rows from real ones."""

from typing import Any

import numpy as np

from tabdar_pipeline.quality.plain import Plain, one_hot

FOLDS = 3


def c2st_logistic(real: Plain, other: Plain, seed: int) -> float:
    """Percent of the best: 100 where a logistic regression does no better than chance."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import RobustScaler

    x = np.concatenate([one_hot(real, real), one_hot(other, real)])
    scores = _scores(make_pipeline(RobustScaler(), LogisticRegression(max_iter=300)), x, len(real), seed)
    return 100 * float(1 - np.mean(2 * np.maximum(0.5, scores) - 1))


def c2st_boosted(real: Plain, other: Plain, seed: int) -> float:
    """ROC AUC of boosted trees; 0.5 where they do no better than chance."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    x = np.concatenate([np.concatenate([t.numbers, t.codes], axis=1) for t in (real, other)])
    trees = HistGradientBoostingClassifier(
        max_iter=150, max_depth=6, learning_rate=0.15, early_stopping=False, random_state=seed
    )
    return float(np.mean(_scores(trees, x, len(real), seed)))


def _scores(model: Any, x: Any, real: int, seed: int) -> Any:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    label = np.arange(len(x)) < real
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a weak test is still a test
        return cross_val_score(model, x, label, cv=folds, scoring="roc_auc")
