"""The privacy audit: who memorises is caught by each attack, who does not is not, and chance refuses no one."""

import json
from dataclasses import asdict
from math import isfinite

import numpy as np
import pyarrow as pa
import pytest

from tabdar_pipeline.quality.attacks.membership import told_apart
from tabdar_pipeline.quality.attacks.risk import Rate, Risk
from tabdar_pipeline.quality.attacks.sides import Points, Sides
from tabdar_pipeline.quality.audit import NAMES, Audit, audit
from tabdar_pipeline.quality.figures import evaluate
from tabdar_pipeline.quality.plain import plain
from tabdar_pipeline.release.decision import Decision, decide
from tabdar_pipeline.release.policy import ReleasePolicy
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.warehouse.customers import customers

COLUMNS = ["region", "age", "plan", "orders", "spend", "average_order", "last_seen", "newsletter"]
PEOPLE = pa.Table.from_pandas(customers(6000, 0)[COLUMNS], preserve_index=False)
TRAIN, HOLDOUT, FRESH = PEOPLE.slice(0, 2400), PEOPLE.slice(2400, 1200), PEOPLE.slice(3600)


def audited(synthetic: pa.Table, *names: str, seed: int = 0) -> Audit:
    """The audit of these columns, or of all."""
    tables = [t.select(names or COLUMNS) for t in (TRAIN, HOLDOUT, synthetic)]
    rows = plain(tables, infer_schema(tables[0], "people"))
    return audit(*rows, np.random.default_rng(seed), lambda _name, _share: None)


def disturbed(rows: pa.Table, share: float) -> pa.Table:
    """The rows with noise on their amounts."""
    rng, frame = np.random.default_rng(1), rows.to_pandas()
    for name in ("spend", "average_order"):
        frame[name] = frame[name] + rng.normal(0, share * frame[name].std(), len(frame))
    return pa.Table.from_pandas(frame, schema=rows.schema, preserve_index=False, safe=False)


def one_by_one(rows: pa.Table) -> pa.Table:
    """Each column in an order of its own."""
    rng = np.random.default_rng(2)
    return pa.table({name: rows[name].take(pa.array(rng.permutation(len(rows)))) for name in COLUMNS})


@pytest.fixture(scope="module")
def remembered() -> Audit:
    """What is said of training rows with a little noise."""
    return audited(disturbed(TRAIN, 0.01))


@pytest.mark.parametrize("name", NAMES)
def test_training_rows_with_a_little_noise_are_caught_by_every_attack(remembered: Audit, name: str) -> None:
    """Even the lower end of the risk is far from nothing, and the control does not share it."""
    risk = remembered.risks[name]
    assert risk.low > 0.1
    assert risk.train.low > risk.control.value
    assert risk.low <= risk.value <= risk.high


def test_a_memoriser_of_one_row_in_ten_is_caught() -> None:
    """Among fresh rows."""
    mixed = pa.concat_tables([disturbed(TRAIN.slice(0, 240), 0.01), FRESH.slice(0, 2160)])
    assert audited(mixed).risks["near_copies"].low > 0.05


@pytest.mark.parametrize("make", [lambda rows: rows, one_by_one], ids=["fresh", "columns one by one"])
@pytest.mark.parametrize("seed", range(3))
def test_who_learned_no_row_is_not_accused(make, seed: int) -> None:
    """Real rows that are no training rows, and rows that are no one's."""
    found = audited(make(FRESH), seed=seed)
    assert {name: risk.low for name, risk in found.risks.items() if risk.low > 0.05} == {}


def decided(synthetic: pa.Table) -> Decision:
    """What the gate says by the default policy; the source has all of the people."""
    figures = evaluate(TRAIN, HOLDOUT, synthetic, infer_schema(TRAIN, "people"), learned=PEOPLE)
    return decide(figures, ReleasePolicy().limits(figures))


def test_the_gate_refuses_a_memoriser_with_its_reasons() -> None:
    """Each attack that binds is named, with what it found; and nothing else is held against its rows."""
    decision = decided(disturbed(TRAIN, 0.01))
    reasons = {reason.split()[0]: reason for reason in decision.reasons}

    assert not decision.passed
    assert {*NAMES, "dcr_share"} <= set(reasons) and not {"shape_error", "trend_error"} & set(reasons)
    assert "near_copies must be at most 0.02, however it is" in reasons["near_copies"]
    assert reasons["near_copies"].endswith("no training rows with a little noise")


def test_the_gate_accepts_a_fresh_real_sample() -> None:
    """No honest table does better."""
    decision = decided(FRESH)

    assert decision.reasons == ()
    assert decision.passed


def test_the_same_seed_finds_the_same() -> None:
    """And another one does not."""
    one, same, other = (audited(FRESH, seed=seed) for seed in (0, 0, 1))
    assert one == same != other


def test_an_audit_is_plain_json(remembered: Audit) -> None:
    """Rates, intervals and the inference of each column."""
    record = json.loads(json.dumps(asdict(remembered), allow_nan=False))
    assert Audit.from_json(record) == remembered
    assert set(remembered.secrets) == set(COLUMNS)


@pytest.mark.parametrize("names", [["spend"], ["region"], ["region", "plan"], ["spend", "age"]], ids=str)
def test_narrow_tables_are_audited(names: list[str]) -> None:
    """One column links nothing; rows that many share single no one out."""
    found = audited(FRESH, *names)
    assert all(isfinite(risk.low) and risk.low < 0.05 for risk in found.risks.values())
    if "spend" not in names:
        assert found.rows["train"] == 0


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_few_rows_prove_nothing(rows: int) -> None:
    """But that they are copies; and nothing breaks."""
    found = audited(TRAIN.slice(0, rows))
    assert max(risk.low for name, risk in found.risks.items() if name != "near_copies") < 0.1


def test_rows_that_several_people_share_are_not_attacked() -> None:
    """Each of them is on one side of the split, whether it was learned or not."""
    twice = pa.concat_tables([TRAIN, TRAIN.slice(0, 400)])
    rows = plain([twice, HOLDOUT, FRESH], infer_schema(TRAIN, "people"))
    assert (
        len(Sides.of(*rows).train)
        == len(Sides.of(*plain([TRAIN, HOLDOUT, FRESH], infer_schema(TRAIN, "people"))).train) - 400
    )


def test_distances_are_gower_s() -> None:
    """A category differs or does not, a number is so much of its spread and never more than one."""
    table = pa.table({"a": [0.0, 100.0, 50.0], "b": ["x", "x", "y"]})
    (rows,) = plain([table], infer_schema(table, "t"))
    points = Points.of(rows, rows)
    gaps = points.distances(points, range(2))

    np.testing.assert_allclose(gaps[0], [0, 1, 1 + 50 / 98], rtol=1e-5)
    np.testing.assert_allclose(gaps, gaps.T)


def test_a_risk_is_what_the_control_does_not_explain() -> None:
    """As Giomi et al. define it; what is worse than the control is no risk."""
    half, all_, none = Rate.of(50, 100), Rate.of(100, 100), Rate.of(0, 100)

    assert Risk.of(all_, half, none).value == 1
    assert Risk.of(half, half, none).value == Risk.of(none, half, none).value == 0
    assert Risk.of(all_, all_, none) == Risk(0.0, 0.0, 1.0, all_, all_, none)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_intervals_of_a_risk_cover_it(share: float) -> None:
    """In nineteen of twenty repetitions, about; here of a risk of 0.3."""
    rng, true = np.random.default_rng(0), 0.3
    train, control = (rng.binomial(400, p, 500) for p in (share + true * (1 - share), share))
    risks = [
        Risk.of(Rate.of(int(t), 400), Rate.of(int(c), 400), Rate.exactly(0.0))
        for t, c in zip(train, control, strict=True)
    ]
    assert 0.92 <= np.mean([risk.low <= true <= risk.high for risk in risks]) <= 0.985


def test_hits_on_one_row_count_as_one() -> None:
    """A hundred guesses that all find the same outlier say little."""
    apart, same = Rate.by_row(np.arange(100)), Rate.by_row(np.zeros(100, np.intp))
    assert apart == Rate.of(100, 100)
    assert same.value == 1 and same.low < 0.3
    assert Rate.by_row(np.full(100, -1)) == Rate.of(0, 100)
    assert Rate.by_row(np.zeros(0, np.intp)) == Rate.of(0, 0)


def test_scores_that_tell_members_apart_are_a_risk() -> None:
    """The ROC AUC stands against a coin."""
    rng = np.random.default_rng(0)
    coin = told_apart(rng.normal(size=500), rng.normal(size=500), rng)
    sure = told_apart(rng.normal(9, 1, 500), rng.normal(size=500), rng)

    assert coin.low == 0 and sure.low > 0.99
    assert abs(coin.train.value - 0.5) < 0.05
