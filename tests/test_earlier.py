"""Of two times in order the later alone tells of a row as much as the earlier does."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tabdar_pipeline.imputation import Point
from tabdar_pipeline.schemas.constraints import Inequality, Sum
from tabdar_pipeline.synthesizer import TabDAR

ROWS = 1500


def stays(rows: int = ROWS, seed: int = 0) -> pa.Table:
    """Stays that last up to five hours, within a year that decides about x; two parts and their sum."""
    rng = np.random.default_rng(seed)
    second = rng.integers(0, 31_000_000, rows)
    start = np.datetime64("2024-01-01T00:00:00") + second.astype("timedelta64[s]")
    end = start + rng.integers(60, 5 * 3600, rows).astype("timedelta64[s]")
    left, right = rng.integers(1, 50, rows), rng.integers(1, 50, rows)
    return pa.table(
        {
            "start": pa.array(start.astype("datetime64[us]")),
            "end": pa.array(end.astype("datetime64[us]")),
            "x": second / 31_000_000 + rng.normal(0, 0.02, rows),
            "left": left,
            "right": right,
            "all": left + right,
        }
    )


def without(table: pa.Table, *names: str) -> pa.Table:
    """The table with these columns all missing."""
    for name in names:
        gone = pa.nulls(len(table), table[name].type)
        table = table.set_column(table.column_names.index(name), name, gone)
    return table


@pytest.fixture(scope="module")
def model() -> TabDAR:
    """A model in which `end` is modelled by its distance from `start`."""
    rules = [Inequality("start", "end"), Sum("all", ("left", "right"))]
    return TabDAR.fit(stays(), epochs=10, seed=1, constraints=rules)


@pytest.mark.parametrize("point", ["draw", "mean"])
@pytest.mark.parametrize("gone", ["start", "end"])
def test_either_time_alone_tells_of_the_rest(model: TabDAR, gone: str, point: Point) -> None:
    """What is filled beside it follows it, to within a small part of the spread."""
    real = stays(300, seed=2)
    filled = model.impute(without(real, gone, "x", "left"), point=point, engine="torch")
    off = np.asarray(filled["x"]) - np.asarray(real["x"])

    assert np.sqrt((off**2).mean()) < 0.4 * np.std(np.asarray(real["x"]))
    assert pc.all(pc.less_equal(filled["start"], filled["end"])).as_py()
    assert (np.asarray(filled["end"]) - np.asarray(filled["start"])).max() < np.timedelta64(6, "h")


@pytest.mark.parametrize("point", ["draw", "mean", "median", "mode"])
def test_a_time_alone_is_filled_where_the_one_it_counts_from_is_missing(model: TabDAR, point: Point) -> None:
    """In every row; the other one, which was not asked for, stays missing."""
    holed = without(stays(100, seed=3), "start", "end")
    filled = model.impute(holed, point=point, columns=["end"], engine="torch")
    far = np.abs(
        np.asarray(filled["x"])
        - (np.asarray(filled["end"]) - np.datetime64("2024-01-01")).astype(float) / 31e12
    )

    assert filled["end"].null_count == 0
    assert filled["start"].null_count == 100
    assert np.median(far) < 0.1


def test_a_sum_alone_is_filled_from_its_parts_whichever_are_asked_for(model: TabDAR) -> None:
    """A part that was neither known nor asked for is drawn for it, and stays missing."""
    holed = without(stays(200, seed=4), "left", "all")
    filled = model.impute(holed, columns=["all"], engine="torch")

    assert filled["left"].null_count == 200
    assert len(set((np.asarray(filled["all"]) - np.asarray(filled["right"])).tolist())) > 10
