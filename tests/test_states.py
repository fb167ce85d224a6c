"""Rows that have shown the same share a state, and are drawn as if each were alone."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabdar_pipeline.runtime import OnnxSampler
from tabdar_pipeline.sampling.engine import Cells
from tabdar_pipeline.sampling.memory import Memory
from tabdar_pipeline.sampling.states import States

HISTORIES = st.integers(0, 2**32 - 1)


def at_start(rows: int) -> States:
    nothing = np.zeros((rows, 2), bool)
    return States.at_start(Cells.empty(rows, 2), nothing, ~nothing)


@given(HISTORIES, st.integers(1, 60), st.integers(1, 4))
def test_rows_share_a_state_where_their_histories_are_equal(seed: int, rows: int, columns: int) -> None:
    """Codes and residuals of all columns so far; or each row is its own."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, (rows, columns))
    values = np.where(rng.random((rows, columns)) < 0.1, rng.standard_normal((rows, columns)), 0)
    states = at_start(rows)
    for c in range(columns):
        states = states.parted(codes[:, c], values[:, c].astype(np.float32))

    assert (states.of[states.first] == np.arange(len(states.first))).all()
    if not states.apart:
        history = np.hstack([codes, values])
        same = (history[:, None] == history[None]).all(axis=2)
        np.testing.assert_array_equal(states.of[:, None] == states.of[None], same)


def test_rows_that_begin_differently_are_apart() -> None:
    """What they show, or what is asked of them."""
    cells, some = Cells.empty(3, 2), np.array([[True, False], [True, False], [True, False]])
    other = Cells(np.array([[0, 0], [1, 0], [0, 0]]), cells.values)

    assert len(States.at_start(cells, some, ~some).first) == 1
    assert States.at_start(other, some, ~some).apart
    assert len(States.at_start(other, ~some, some).first) == 1  # what differs is not visible
    assert States.at_start(cells, some, np.eye(3, 2, dtype=bool)).apart


def test_a_memory_goes_on_with_the_rows_that_are_named() -> None:
    """In the order in which they are named, more than once, and whole again when cleared."""
    memory = Memory(1, 4, 1, 2)
    memory.take(np.array([0, 0]))
    fresh = np.arange(2, dtype=np.float32)[None, :, None, None, None] * np.ones((2, 1, 1, 1, 2), np.float32)
    memory.add(fresh, np.array([[True], [False]]))
    memory.take(np.array([1, 0, 1]))

    assert memory.arrays[0][:, 0, 0, 0].tolist() == [1, 0, 1]
    assert memory.shown[:, 0].tolist() == [0, 1, 0]
    memory.clear()
    assert memory.rows == 4 and memory.filled == 0 and not memory.shown.any()


def test_shared_states_draw_the_same_table(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a network that looks at each row by itself: categories equal, numbers within float error."""
    sampler = OnnxSampler.load(saved)
    shared = pa.Table.from_batches(sampler.sample_batches(2000, seed=3)).to_pandas()
    with monkeypatch.context() as patch:
        patch.setattr(
            States, "at_start", classmethod(lambda cls, cells, *_: cls(*2 * [np.arange(len(cells.codes))]))
        )
        apart = pa.Table.from_batches(sampler.sample_batches(2000, seed=3)).to_pandas()

    for name in ("level", "visits", "active"):
        assert (shared[name].astype(str) == apart[name].astype(str)).mean() > 0.999
    assert (shared["score"] - apart["score"]).abs().median() < 1e-4
