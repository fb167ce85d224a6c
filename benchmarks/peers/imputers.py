"""Other imputers, each as its documentation recommends: imputers.py METHOD TABLE DATASETS TRAIN MASKED OUT."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd


def main() -> None:
    method, table, entries, *files, out = sys.argv[1:]
    train, masked = (pd.read_parquet(file) for file in files)
    categories = kinds(Path(entries), table)["categorical"]
    METHODS[method](train, masked.copy(), categories).to_parquet(out)


def kinds(path: Path, table: str) -> dict:
    entries = json.loads(path.read_text())
    entries = entries.get("datasets", entries) if isinstance(entries, dict) else entries
    if isinstance(entries, dict):
        return entries[table]
    return next(e for e in entries if e["name"] == table)


def mean_mode(train: pd.DataFrame, masked: pd.DataFrame, categories: list[str]) -> pd.DataFrame:
    for name in masked:
        value = train[name].mode().iloc[0] if name in categories else train[name].astype(float).mean()
        column = masked[name] if name in categories else masked[name].astype(float)
        masked[name] = column.where(column.notna(), value)
    return masked


def knn(train: pd.DataFrame, masked: pd.DataFrame, categories: list[str]) -> pd.DataFrame:
    from sklearn.impute import KNNImputer

    return on_codes(
        KNNImputer(n_neighbors=5),
        train.sample(min(len(train), 5000), random_state=0),
        masked,
        categories,
        train,
    )


def iterative(train: pd.DataFrame, masked: pd.DataFrame, categories: list[str]) -> pd.DataFrame:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    imputer = IterativeImputer(
        HistGradientBoostingRegressor(max_iter=50, random_state=0), max_iter=5, random_state=0
    )
    return on_codes(imputer, train, masked, categories, train)


def on_codes(imputer, fit_on, masked, categories, train):
    """Numbers standardised, categories as codes of falling frequency, rounded afterwards."""
    levels = {c: train[c].value_counts().index.tolist() for c in categories}
    scale = {
        c: (train[c].astype(float).mean(), train[c].astype(float).std() or 1.0)
        for c in train
        if c not in levels
    }

    def codes(table):
        return np.stack(
            [
                pd.Categorical(table[c], categories=levels[c]).codes.astype(float)
                if c in levels
                else (table[c].astype(float) - scale[c][0]) / scale[c][1]
                for c in train
            ],
            axis=1,
        )

    known, holed = codes(fit_on), codes(masked)
    for i, c in enumerate(train):
        if c in levels:
            holed[holed[:, i] < 0, i] = np.nan
            known[known[:, i] < 0, i] = np.nan
    filled = imputer.fit(known).transform(holed)
    for i, c in enumerate(train):
        gone = masked[c].isna()
        if c in levels:
            place = np.clip(np.rint(filled[:, i]), 0, len(levels[c]) - 1).astype(int)
            masked[c] = masked[c].where(
                ~gone, pd.Series(np.array(levels[c], dtype=object)[place], masked.index)
            )
        else:
            numbers = filled[:, i] * scale[c][1] + scale[c][0]
            masked[c] = masked[c].astype(float).where(~gone, pd.Series(numbers, masked.index))
    return masked


def miceforest(train: pd.DataFrame, masked: pd.DataFrame, categories: list[str]) -> pd.DataFrame:
    import miceforest as mf

    types = {c: pd.CategoricalDtype(sorted(train[c].dropna().unique())) for c in categories}
    numbers = {c: float for c in train if c not in types}
    both = pd.concat([train, masked], ignore_index=True).astype(types | numbers)
    kernel = mf.ImputationKernel(both, num_datasets=1, random_state=0)
    kernel.mice(3)
    filled = kernel.complete_data(0).iloc[len(train) :].reset_index(drop=True)
    return filled.astype(dict.fromkeys(categories, object))


def hyperimpute(train: pd.DataFrame, masked: pd.DataFrame, categories: list[str]) -> pd.DataFrame:
    """It learns from what it fills: from the first rows of the clean half, too."""
    from hyperimpute.plugins.imputers import Imputers

    class Both:
        def fit(self, known):
            self.known = known
            return self

        def transform(self, holed):
            both = pd.DataFrame(np.concatenate([self.known, holed]))
            filled = Imputers().get("hyperimpute", random_state=0).fit_transform(both)
            return filled.to_numpy(float)[len(self.known) :]

    return on_codes(Both(), train.head(5000), masked, categories, train)


def argn(train: pd.DataFrame, masked: pd.DataFrame, _categories: list[str]) -> pd.DataFrame:
    """TabularARGN with its default settings: it fills the empty cells of its seed data."""
    import tempfile

    from mostlyai import engine

    with tempfile.TemporaryDirectory() as workspace:
        engine.set_random_state(0)
        engine.split(tgt_data=train, workspace_dir=workspace, model_type="TABULAR")
        engine.analyze(workspace_dir=workspace)
        engine.encode(workspace_dir=workspace)
        engine.train(workspace_dir=workspace)
        engine.generate(workspace_dir=workspace, seed_data=masked, imputation={"columns": list(masked)})
        return pd.read_parquet(f"{workspace}/SyntheticData")[list(masked)]


METHODS = {f.__name__: f for f in (mean_mode, knn, iterative, miceforest, hyperimpute, argn)}

if __name__ == "__main__":
    main()
