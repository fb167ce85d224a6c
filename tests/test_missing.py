"""NULL is a value of its own: how often it is drawn depends on the rest of the row, as in the source."""

import numpy as np
import pyarrow as pa
import pytest

from tabdar_pipeline.synthesizer import TabDAR

ROWS = 4000


@pytest.fixture(scope="module")
def tables() -> tuple[pa.Table, pa.Table]:
    """People of whom the rich, and more so the old, do not say what they earn; two answers skipped together; a rare field."""
    rng = np.random.default_rng(0)
    age = rng.integers(20, 80, ROWS)
    band = rng.choice(["low", "mid", "high"], ROWS, p=[0.5, 0.3, 0.2])
    income = np.round(rng.lognormal(10, 0.3, ROWS) * np.select([band == "low", band == "mid"], [1, 2], 4), 2)
    silent = rng.random(ROWS) < np.where(band == "high", 0.6, 0.05) + np.where(age > 60, 0.2, 0.0)
    skipped = rng.random(ROWS) < 0.25
    real = pa.table(
        {
            "age": age,
            "band": band,
            "income": pa.array(income, mask=silent),
            "q1": pa.array(rng.integers(1, 6, ROWS), mask=skipped),
            "q2": pa.array(rng.choice(["yes", "no"], ROWS), mask=skipped),
            "rare": pa.array(rng.choice(["a", "b"], ROWS), mask=rng.random(ROWS) > 0.005),
        }
    )
    made = TabDAR.fit(real, epochs=12, seed=0).sample(ROWS, seed=1, engine="torch", format="arrow")
    assert isinstance(made, pa.Table)
    return real, made


def share(table: pa.Table, where: str) -> float:
    """Of the rows of a band, or of the old, how many do not say their income."""
    silent, old = (np.asarray(it) for it in (table["income"].is_null(), pa.compute.greater(table["age"], 60)))
    here = old if where == "old" else np.array(table["band"]) == where
    return float(silent[here].mean())


@pytest.mark.parametrize("where", ["low", "mid", "high", "old"])
def test_missing_values_depend_on_the_other_columns(tables: tuple[pa.Table, pa.Table], where: str) -> None:
    """Within what four thousand rows and a short fit allow."""
    real, made = tables

    assert abs(share(real, where) - share(made, where)) < 0.08


def test_answers_that_are_skipped_together_stay_so(tables: tuple[pa.Table, pa.Table]) -> None:
    """In every row, as often as in the source."""
    real, made = tables

    assert made["q1"].is_null().equals(made["q2"].is_null())
    assert abs(made["q1"].null_count - real["q1"].null_count) / ROWS < 0.05


def test_a_column_that_is_all_but_empty_stays_so(tables: tuple[pa.Table, pa.Table]) -> None:
    """Some twenty of four thousand rows have it; few still do, and none has another value."""
    _, made = tables

    assert 0 < ROWS - made["rare"].null_count < 80
    assert set(made["rare"].to_pylist()) <= {None, "a", "b"}
