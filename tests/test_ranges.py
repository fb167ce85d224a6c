"""Ranges, however narrow and however many: rows lie in them, and apart, and cost about what free rows cost."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tabdar_pipeline.conditions import resolve
from tabdar_pipeline.errors import ConditionError
from tabdar_pipeline.predicates import parse
from tabdar_pipeline.runtime import OnnxSampler
from tabdar_pipeline.sampling.engine import Codes, Floats
from tabdar_pipeline.synthesizer import TabDAR

ROWS = 1024


@pytest.fixture(scope="module")
def sampler(saved: Path) -> OnnxSampler:
    """Of the small table of every kind of column."""
    return OnnxSampler.load(saved)


def drawn(sampler: OnnxSampler, where: str) -> pa.Table:
    conditions = resolve(sampler.codec, sampler.schema, parse(where, sampler.schema) if where else ())
    return pa.Table.from_batches(list(sampler.sample_batches(ROWS, conditions=conditions)))


@pytest.mark.parametrize("width", [1e-1, 1e-3, 1e-5, 1e-7, 1e-9])
def test_rows_of_a_narrow_range_lie_in_it_and_apart(sampler: OnnxSampler, width: float) -> None:
    """A residual of 32 bits could not tell them."""
    scores = drawn(sampler, f"score BETWEEN 0.5 AND {0.5 + width!r}")["score"].to_numpy()

    assert scores.min() >= 0.5
    assert scores.max() <= 0.5 + width
    assert len(np.unique(scores)) > 0.99 * ROWS
    assert (
        np.abs(np.quantile(scores, [0.25, 0.5, 0.75]) - 0.5 - width * np.array([0.25, 0.5, 0.75])).max()
        < 0.1 * width
    )


def test_a_range_that_no_row_tells_apart_is_filled_from_end_to_end() -> None:
    """Ten microseconds of three years: every one of them is drawn."""
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "seen": pa.array(1_600_000_000_000_000 + rng.integers(0, 10**14, 600), pa.timestamp("us")),
            "kind": rng.choice(["a", "b"], 600),
        }
    )
    where = "seen BETWEEN '2021-06-01 10:00:00.500000' AND '2021-06-01 10:00:00.500009'"
    rows = TabDAR.fit(table, epochs=1).sample(500, where=where, engine="torch", format="arrow")
    micros = rows["seen"].cast(pa.int64()).to_numpy() % 1_000_000 - 500_000

    assert set(micros.tolist()) == set(range(10))


def test_rows_of_a_range_that_is_finer_than_a_double_lie_in_it_or_it_is_refused() -> None:
    """Three of 10**17 whole numbers, at thirty places: at some of them rows would lie beside."""
    rng = np.random.default_rng(0)
    table = pa.table({"big": rng.integers(0, 10**17, 600), "kind": rng.choice(["a", "b"], 600)})
    model = TabDAR.fit(table, epochs=1)
    refused = 0
    for first in rng.integers(10**16, 9 * 10**16, 30):
        try:
            rows = model.sample(40, where=f"big BETWEEN {first} AND {first + 2}", engine="torch")
        except ConditionError as error:
            refused += "so near to each other cannot be told apart" in str(error)
        else:
            assert rows["big"].between(first, first + 2).all()
    assert 0 < refused < 30
    wide = model.sample(500, where="big BETWEEN 50000000000000000 AND 50000001000000000", engine="torch")
    assert wide["big"].between(50000000000000000, 50000001000000000).all()


@pytest.mark.parametrize(
    ("where", "times"),
    [
        ("score BETWEEN 0.5 AND 0.501", 1.2),
        ("score > 1.2 AND amount BETWEEN 5 AND 20", 5),
        ("score > 1.2 AND amount BETWEEN 5 AND 20 AND joined > '2022-01-01'", 7),
    ],
)
def test_what_a_rare_condition_asks_of_the_diffusion_is_bounded(
    sampler: OnnxSampler, monkeypatch: pytest.MonkeyPatch, where: str, times: float
) -> None:
    """Counted in its cells, since seconds depend on the machine: this table has four columns of numbers that vary."""
    solved: list[int] = []
    slope = type(sampler.engine).slope

    def counted(engine: object, x: Floats, theta: float, z: Floats, flat: Codes) -> Floats:
        solved.append(len(x))
        return slope(engine, x, theta, z, flat)

    monkeypatch.setattr(type(sampler.engine), "slope", counted)
    drawn(sampler, "")
    free = sum(solved)
    solved.clear()
    drawn(sampler, where)

    assert sum(solved) < times * free
