"""Membership inference on the model's likelihood: what it remembers it knows better than what it never saw."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from test_sampling import FakeEngine

from tabdar_pipeline.quality.attacks.likelihood import Known, likelihood
from tabdar_pipeline.quality.attacks.risk import Risk
from tabdar_pipeline.quality.figures import Losses, evaluate
from tabdar_pipeline.quality.plain import plain
from tabdar_pipeline.release.decision import decide
from tabdar_pipeline.release.policy import ReleasePolicy
from tabdar_pipeline.runtime import OnnxSampler
from tabdar_pipeline.sampling.engine import Cells
from tabdar_pipeline.sampling.likelihood import losses
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.synthesizer import TabDAR
from tabdar_pipeline.warehouse.customers import customers

COLUMNS = ["region", "age", "plan", "orders", "spend", "average_order", "last_seen", "newsletter"]
PEOPLE = pa.Table.from_pandas(customers(5000, 0)[COLUMNS], preserve_index=False)
SCHEMA = infer_schema(PEOPLE, "people")
MANY, FEW, HOLDOUT, OTHERS = (
    PEOPLE.slice(0, 3000),
    PEOPLE.slice(0, 180),
    PEOPLE.slice(3000, 1000),
    PEOPLE.slice(4000),
)


@pytest.fixture(scope="module")
def fitted() -> Losses:
    """A few epochs over many rows."""
    return TabDAR.fit(MANY, epochs=6, seed=1).sampler("torch").losses


@pytest.fixture(scope="module")
def overfitted() -> Losses:
    """So few rows that none are left to validate on, and many epochs."""
    return TabDAR.fit(FEW, epochs=150, seed=1).sampler("torch").losses


def attacked(model: Losses, train: pa.Table, holdout: pa.Table = HOLDOUT) -> Risk:
    known = [
        Known(rows, lambda places, table=table: model(table.take(pa.array(places))))
        for rows, table in zip(plain([train, holdout], SCHEMA), (train, holdout), strict=True)
    ]
    return likelihood(*known, np.random.default_rng(0))


def test_a_model_that_remembers_its_rows_is_told_from_one_that_does_not(
    fitted: Losses, overfitted: Losses
) -> None:
    """Beyond the intervals of both."""
    well, over = attacked(fitted, MANY), attacked(overfitted, FEW)

    assert over.train.value > 0.75
    assert over.low > ReleasePolicy().likelihood > well.high
    assert over.train.low > well.train.high + 0.1


def test_rows_that_no_model_saw_are_not_told_apart(fitted: Losses, overfitted: Losses) -> None:
    """A coin's 0.5 lies within the interval, and nobody is accused."""
    for model in (fitted, overfitted):
        risk = attacked(model, OTHERS)
        assert risk.train.low < 0.5 < risk.train.high
        assert risk.low == 0


def test_the_figure_is_measured_where_the_model_is_at_hand_and_the_policy_limits_it(
    overfitted: Losses,
) -> None:
    """The others stay as they are without it."""
    table = PEOPLE.slice(4000, 300)
    with_model, without = (evaluate(FEW, HOLDOUT, table, SCHEMA, losses=it) for it in (overfitted, None))
    policy = ReleasePolicy(shape_error=100, trend_error=100, c2st_boosted=0.5)
    decision = decide(with_model, policy.limits(with_model))

    assert set(with_model.values) - set(without.values) == {"likelihood"}
    assert all(with_model.values[name] == value for name, value in without.values.items())
    assert with_model.floor["likelihood"] == 0
    assert any(reason.startswith("likelihood must be at most 0.4") for reason in decision.reasons)
    assert not any(limit.figure == "likelihood" for limit in policy.limits(without))


def test_the_onnx_engine_alone_gives_the_same_losses(model: TabDAR, saved: Path, table: pa.Table) -> None:
    """In blocks of any size, and whichever rows stand beside one."""
    onnx, torch = OnnxSampler.load(saved), model.sampler("torch")
    found = onnx.losses(table)

    assert found.shape == (len(table),) and np.isfinite(found).all()
    np.testing.assert_allclose(found, torch.losses(table), rtol=1e-3)
    np.testing.assert_allclose(found[100:120], onnx.losses(table.slice(100, 20)), rtol=1e-4)
    assert len(onnx.losses(table.slice(0, 0))) == 0


class StandardNormal(FakeEngine):
    """Residuals that are standard normal, whatever is known: the best slope is 0 (see `heun`)."""

    def slope(self, x: np.ndarray, theta: float, z: np.ndarray, flat: np.ndarray) -> np.ndarray:
        assert x.shape == flat.shape == z.shape[:1]
        return np.zeros_like(x)


def test_a_loss_is_the_cross_entropy_and_the_denoising_error() -> None:
    """Of the second code of the first column and a residual in the second, by hand; unknown cells are left out."""
    cells = Cells(np.array([[1, 0, 1]] * 3), np.array([[0, 0.0, 0], [0, 2.0, 0], [0, 2.0, 0]], np.float32))
    known = np.array([[True, True, True], [True, True, True], [True, False, False]])
    found = losses(StandardNormal(), cells, known, [(0, 1, 2), (2, 1, 0)])
    codes = -np.log(2 / 6) - np.log(1.0) - np.log(2 / 3)

    assert found[2] == pytest.approx(-3 * np.log(2 / 6))  # one known cell stands for all three
    sines = found[1] - found[0]  # y = 2 adds sin(theta)^2 y^2, the mean over levels
    assert found[0] == pytest.approx(codes + 1 - sines / 4, rel=1e-5)  # and noise cos(theta)^2
    assert 0 < sines < 4


@pytest.mark.parametrize(("reveal", "shown"), [("cached", [[2], [0]]), ("paper", [[2], [2, 0]])])
def test_each_cell_is_asked_for_given_those_before_it(reveal: str, shown: list[list[int]]) -> None:
    """Where all visible columns see each other, all are encoded anew."""
    engine = StandardNormal()
    engine.reveal = reveal
    losses(engine, Cells.empty(4, 3), np.ones((4, 3), bool), [(2, 0, 1)])

    assert engine.asked == [([], 2), ([shown[0]], 0), ([shown[1]], 1)]
