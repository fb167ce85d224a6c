"""Generators of tables, one a run: generators.py NAME TRAIN OUT ROWS EPOCHS prints seconds of training and sampling.

ctgan and tvae train EPOCHS epochs (0: as many as they do by default); copula is the Gaussian copula of `copulas` on
label-coded categories; arf is adversarial random forests.
"""

import json
import sys
import time

import numpy as np
import pandas as pd


def ctgan(rows: pd.DataFrame, discrete: list[str], epochs: int) -> object:
    from ctgan import CTGAN

    return deep(CTGAN(**limit(epochs)), rows, discrete)


def tvae(rows: pd.DataFrame, discrete: list[str], epochs: int) -> object:
    from ctgan import TVAE

    return deep(TVAE(**limit(epochs)), rows, discrete)


def limit(epochs: int) -> dict:
    return {"epochs": epochs} if epochs else {}


def deep(model: object, rows: pd.DataFrame, discrete: list[str]) -> object:
    model.fit(rows, discrete)
    return model.sample


def copula(rows: pd.DataFrame, discrete: list[str], _: int) -> object:
    from copulas.multivariate import GaussianMultivariate

    levels = {name: rows[name].value_counts().index for name in discrete}
    coded = rows.assign(**{name: levels[name].get_indexer(rows[name]) for name in discrete})
    model = GaussianMultivariate()
    model.fit(coded)

    def sample(count: int) -> pd.DataFrame:
        made = model.sample(count)
        for name in discrete:
            places = made[name].round().clip(0, len(levels[name]) - 1).astype(int)
            made[name] = levels[name].to_numpy()[places]
        return made

    return sample


def arf(rows: pd.DataFrame, _: list[str], __: int) -> object:
    from arfpy import arf as forests

    model = forests.arf(x=rows)
    model.forde()
    return lambda count: model.forge(n=count)


def main() -> None:
    name, train, out, count, epochs = sys.argv[1:]
    np.random.seed(0)  # noqa: NPY002 - the peers draw from it
    rows = pd.read_parquet(train)
    discrete = [c for c in rows if not pd.api.types.is_numeric_dtype(rows[c])]
    rows[discrete] = rows[discrete].fillna("missing").astype(object)  # arfpy knows no other strings
    learn = {"ctgan": ctgan, "tvae": tvae, "copula": copula, "arf": arf}[name]
    started = time.perf_counter()
    sample = learn(rows, discrete, int(epochs))
    trained = time.perf_counter()
    made = sample(int(count))
    done = time.perf_counter()
    made.to_parquet(out)
    print(json.dumps({"train_s": trained - started, "sample_s": done - trained}))


if __name__ == "__main__":
    main()
