"""Train on synthetic, test on real: whether the table is fit for the work it replaces."""

import numpy as np

from tabdar_pipeline.quality.plain import Plain


def utility(train: Plain, test: Plain, target: str, seed: int) -> float:
    """R2 for a number, mean one-vs-rest ROC AUC for a category; 0 where nothing can be learned."""
    if target in train.number_names:
        return _regression(train, test, train.number_names.index(target), seed)
    return _classification(train, test, train.category_names.index(target), seed)


def _regression(train: Plain, test: Plain, p: int, seed: int) -> float:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.metrics import r2_score

    x, y = (np.concatenate([np.delete(t.numbers, p, axis=1), t.codes], axis=1) for t in (train, test))
    trees = HistGradientBoostingRegressor(max_iter=200, max_depth=6, early_stopping=False, random_state=seed)
    return float(r2_score(test.numbers[:, p], trees.fit(x, train.numbers[:, p]).predict(y)))


def _classification(train: Plain, test: Plain, q: int, seed: int) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    x, y = (np.concatenate([t.numbers, np.delete(t.codes, q, axis=1)], axis=1) for t in (train, test))
    label, truth = train.codes[:, q], test.codes[:, q]
    classes = np.unique(label)
    if len(classes) < 2:
        return 0.0
    trees = HistGradientBoostingClassifier(max_iter=200, max_depth=6, early_stopping=False, random_state=seed)
    shares = trees.fit(x, label).predict_proba(y)
    known = np.isin(truth, classes)
    scores = [
        roc_auc_score(truth[known] == k, shares[known, i])
        for i, k in enumerate(classes)
        if 0 < (truth[known] == k).sum() < known.sum()
    ]
    return float(np.mean(scores)) if scores else 0.0
