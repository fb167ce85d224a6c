"""Other imputers, each as its documentation recommends: imputers.py METHOD TABLE DATASETS TRAIN MASKED:OUT ...

Each learns once from TRAIN and fills every MASKED; what learns from all that it is given learns anew for each. The last line
printed is JSON: the seconds of learning, and of filling each.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

Fill = Callable[[pd.DataFrame], pd.DataFrame]
COPIES = 5  # of imputers that draw: an estimate is their mean, or the most frequent category
# Of hyperimpute, without XGBoost, which stops where there are two classes.
CLASSIFIERS = ["random_forest", "logistic_regression", "catboost"]


def main() -> None:
    method, table, entries, train, *pairs = sys.argv[1:]
    started = time.perf_counter()
    fill = METHODS[method](pd.read_parquet(train), kinds(Path(entries), table)["categorical"])
    spent = {"fit_s": time.perf_counter() - started, "fill_s": {}}
    for masked, out in (pair.split(":") for pair in pairs):
        started = time.perf_counter()
        fill(pd.read_parquet(masked)).to_parquet(out)
        spent["fill_s"][masked] = time.perf_counter() - started
    print(json.dumps(spent))


def kinds(path: Path, table: str) -> dict:
    entries = json.loads(path.read_text())
    entries = entries.get("datasets", entries) if isinstance(entries, dict) else entries
    if isinstance(entries, dict):
        return entries[table]
    return next(e for e in entries if e["name"] == table)


def mean_mode(train: pd.DataFrame, categories: list[str]) -> Fill:
    values = {
        name: train[name].mode().iloc[0] if name in categories else train[name].astype(float).mean()
        for name in train
    }

    def fill(masked: pd.DataFrame) -> pd.DataFrame:
        for name, value in values.items():
            column = masked[name] if name in categories else masked[name].astype(float)
            masked[name] = column.where(column.notna(), value)
        return masked

    return fill


def knn(train: pd.DataFrame, categories: list[str]) -> Fill:
    from sklearn.impute import KNNImputer

    coding = Coding(train, categories)
    known = coding.encode(train.sample(min(len(train), 5000), random_state=0))
    imputer = KNNImputer(n_neighbors=5).fit(known)
    return lambda masked: coding.fill(masked, imputer.transform(coding.encode(masked)))


def iterative(train: pd.DataFrame, categories: list[str]) -> Fill:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    coding = Coding(train, categories)
    model = HistGradientBoostingRegressor(max_iter=50, random_state=0)
    imputer = IterativeImputer(model, max_iter=5, random_state=0).fit(coding.encode(train))
    return lambda masked: coding.fill(masked, imputer.transform(coding.encode(masked)))


def hyperimpute(train: pd.DataFrame, categories: list[str]) -> Fill:
    """It learns from what it fills: from the first rows of the clean half, too."""
    from hyperimpute.plugins.imputers import Imputers

    coding = Coding(train, categories)
    known = coding.encode(train.head(5000))

    def fill(masked: pd.DataFrame) -> pd.DataFrame:
        both = pd.DataFrame(np.concatenate([known, coding.encode(masked)]))
        chosen = Imputers().get("hyperimpute", classifier_seed=CLASSIFIERS, random_state=0)
        filled = chosen.fit_transform(both)
        return coding.fill(masked, filled.to_numpy(float)[len(known) :])

    return fill


class Coding:
    """Numbers standardised, categories as codes of falling frequency, rounded afterwards."""

    def __init__(self, train: pd.DataFrame, categories: list[str]) -> None:
        self.names = list(train)
        self.levels = {c: train[c].value_counts().index.tolist() for c in categories}
        numbers = {c: train[c].astype(float) for c in train if c not in self.levels}
        self.scale = {c: (x.mean(), x.std() or 1.0) for c, x in numbers.items()}

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        columns = []
        for c in self.names:
            if c in self.levels:
                codes = pd.Categorical(table[c], categories=self.levels[c]).codes.astype(float)
                columns.append(np.where(codes < 0, np.nan, codes))
            else:
                mean, spread = self.scale[c]
                columns.append((table[c].astype(float) - mean) / spread)
        return np.stack(columns, axis=1)

    def fill(self, masked: pd.DataFrame, filled: np.ndarray) -> pd.DataFrame:
        for i, c in enumerate(self.names):
            if c in self.levels:
                place = np.clip(np.rint(filled[:, i]), 0, len(self.levels[c]) - 1).astype(int)
                made = pd.Series(np.array(self.levels[c], dtype=object)[place], masked.index)
                masked[c] = masked[c].where(masked[c].notna(), made)
            else:
                mean, spread = self.scale[c]
                made = pd.Series(filled[:, i] * spread + mean, masked.index)
                masked[c] = masked[c].astype(float).fillna(made)
        return masked


def miceforest(train: pd.DataFrame, categories: list[str]) -> Fill:
    """It learns from what it fills, too; without mean matching its predictions are estimates."""
    import miceforest as mf

    types = {c: pd.CategoricalDtype(sorted(train[c].dropna().unique())) for c in categories}
    numbers = {c: float for c in train if c not in types}

    def fill(masked: pd.DataFrame) -> pd.DataFrame:
        both = pd.concat([train, masked], ignore_index=True).astype(types | numbers)
        kernel = mf.ImputationKernel(both, num_datasets=1, mean_match_candidates=0, random_state=0)
        kernel.mice(3)
        filled = kernel.complete_data(0).iloc[len(train) :].reset_index(drop=True)
        return filled.astype(dict.fromkeys(categories, object))

    return fill


def argn(train: pd.DataFrame, categories: list[str]) -> Fill:
    """TabularARGN with its default settings: it fills the empty cells of its seed data."""
    import tempfile

    from mostlyai import engine

    workspace = tempfile.mkdtemp()
    engine.set_random_state(0)
    engine.split(tgt_data=train, workspace_dir=workspace, model_type="TABULAR")
    engine.analyze(workspace_dir=workspace)
    engine.encode(workspace_dir=workspace)
    engine.train(workspace_dir=workspace)

    def fill(masked: pd.DataFrame) -> pd.DataFrame:
        copies = []
        for _ in range(COPIES):
            engine.generate(workspace_dir=workspace, seed_data=masked, imputation={"columns": list(masked)})
            copies.append(pd.read_parquet(f"{workspace}/SyntheticData")[list(masked)])
        return pooled(copies, masked, categories)

    return fill


def pooled(copies: list[pd.DataFrame], masked: pd.DataFrame, categories: list[str]) -> pd.DataFrame:
    """Of each missing cell the mean of its draws, or the most frequent category among them."""
    for name in masked:
        drawn = pd.concat([copy[name].reset_index(drop=True) for copy in copies], axis=1)
        if name in categories:
            codes, levels = pd.factorize(drawn.to_numpy().ravel())
            counts = np.zeros((len(drawn), len(levels)), int)
            np.add.at(counts, (np.repeat(np.arange(len(drawn)), len(copies)), codes), 1)
            made = pd.Series(np.asarray(levels, dtype=object)[counts.argmax(axis=1)], masked.index)
            masked[name] = masked[name].where(masked[name].notna(), made)
        else:
            masked[name] = masked[name].astype(float).fillna(drawn.astype(float).mean(axis=1))
    return masked


METHODS = {f.__name__: f for f in (mean_mode, knn, iterative, miceforest, hyperimpute, argn)}

if __name__ == "__main__":
    main()
