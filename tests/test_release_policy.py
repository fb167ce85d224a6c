"""The policy: what is close to real rows passes, what is far from them or copies them does not."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.quality.audit import NAMES
from tabdar_pipeline.quality.figures import Figures, evaluate
from tabdar_pipeline.quality.holdout import Split, split
from tabdar_pipeline.release.decision import Decision, decide
from tabdar_pipeline.release.policy import ReleasePolicy
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.warehouse.customers import customers

COLUMNS = ["region", "age", "plan", "orders", "spend", "average_order", "last_seen"]  # no two rows alike
Real = tuple[Split, TableSchema]
FLOOR = {
    "shape_error": 1.0,
    "trend_error": 2.0,
    "c2st_boosted": 0.5,
    "utility": 0.9,
    "copies": 0.02,
    "off_support": 0.01,
    "dcr_share": 0.5,
    **dict.fromkeys(NAMES, 0.0),
}


def figures(rows: int = 4000, **changed: float) -> Figures:
    """Figures as good as their floors, but for what is changed."""
    values = {**FLOOR, "off_support": 0.0, **changed}
    return Figures(values, FLOOR, {}, (), (), {"compared": rows}, "plan", 0)


@pytest.mark.parametrize(
    ("figure", "passes", "fails"),
    [
        ("shape_error", 4.0, 4.01),
        ("trend_error", 6.0, 6.01),
        ("c2st_boosted", 0.9, 0.91),
        ("utility", 0.821, 0.819),
        ("dcr_share", 0.563, 0.565),
        ("copies", 0.029, 0.031),
        ("off_support", 0.0, 0.0001),
        ("near_copies", 0.02, 0.021),
        *((name, 0.1, 0.11) for name in NAMES if name != "near_copies"),
    ],
)
def test_each_figure_is_bound_relative_to_its_floor(figure: str, passes: float, fails: float) -> None:
    """By the documented default."""
    for value, passed in ((passes, True), (fails, False)):
        it = figures(4000, **{figure: value})
        decision = decide(it, ReleasePolicy().limits(it))
        assert decision.passed == passed
        assert len(decision.reasons) == (not passed)


def test_limits_on_few_rows_leave_room_for_chance() -> None:
    """Three standard errors of a share of a hundred rows are 0.15."""
    few = {limit.figure: limit.maximum for limit in ReleasePolicy().limits(figures(rows=100))}
    assert few["dcr_share"] == pytest.approx(0.69)
    assert few["copies"] == pytest.approx(0.02 + 3 * np.sqrt(2 * 0.02 * 0.98 / 100))
    assert few["shape_error"] == 4.0


def test_what_was_not_measured_has_no_limit() -> None:
    """Utility needs a target."""
    it = figures()
    without = {k: v for k, v in it.values.items() if k != "utility"}
    floor = {k: v for k, v in it.floor.items() if k != "utility"}
    limits = ReleasePolicy().limits(replace(it, values=without, floor=floor))
    assert {limit.figure for limit in limits} == set(without)


@pytest.mark.parametrize(
    "wrong",
    [{"shape_error": -1.0}, {"c2st_boosted": 0.6}, {"copies": 2.0}, {"dcr_share": float("nan")}],
)
def test_thresholds_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    """Naming the setting and its range."""
    with pytest.raises(UsageError, match=rf"policy\.{next(iter(wrong))} must be 0 to"):
        ReleasePolicy(**wrong)


@pytest.fixture(scope="module")
def real() -> Real:
    """Train, holdout and schema of made-up people."""
    table = pa.Table.from_pandas(customers(4000, 0)[COLUMNS], preserve_index=False)
    return split(table), infer_schema(table, "people")


def judged(real: Real, candidate: pa.Table) -> Decision:
    """What the default policy says of a candidate."""
    parts, schema = real
    found = evaluate(parts.train, parts.holdout, candidate, schema, target="plan")
    policy = ReleasePolicy(off_support=1.0)  # fresh real rows do have new values
    return decide(found, policy.limits(found))


def test_fresh_rows_of_the_same_people_pass(real: Real) -> None:
    """What a perfect model would make."""
    fresh = pa.Table.from_pandas(customers(1500, 1)[COLUMNS], preserve_index=False)
    assert judged(real, fresh).reasons == ()


def test_columns_drawn_one_by_one_are_refused(real: Real) -> None:
    """Each column is right, no pair is."""
    rng, train = np.random.default_rng(0), real[0].train
    shuffled = {name: train[name].take(pa.array(rng.permutation(len(train)))) for name in COLUMNS}
    decision = judged(real, pa.table(shuffled))
    assert {reason.split()[0] for reason in decision.reasons} >= {"trend_error", "c2st_boosted", "utility"}


def test_copies_of_training_rows_are_refused(real: Real) -> None:
    """However good they look."""
    decision = judged(real, real[0].train)
    assert {reason.split()[0] for reason in decision.reasons} >= {"copies", "dcr_share", "near_copies"}
    assert {reason.split()[0] for reason in decision.reasons} <= {"copies", "dcr_share", *NAMES}


def test_training_rows_with_a_little_noise_are_refused(real: Real) -> None:
    """They are no copies, but nearer to the training rows than fresh ones."""
    rng, train = np.random.default_rng(0), real[0].train.to_pandas()
    for name in ("spend", "average_order"):
        train[name] *= rng.lognormal(0, 0.002, len(train))
        train[name] += rng.normal(0, 0.01, len(train))
    decision = judged(real, pa.Table.from_pandas(train, preserve_index=False))
    assert {reason.split()[0] for reason in decision.reasons} >= {"dcr_share", "near_copies", "membership"}
