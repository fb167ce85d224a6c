"""Columns to numbers and back: what many rows share comes back as itself, what one row has does not."""

import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from conftest import mixed_table
from hypothesis import given, settings
from hypothesis import strategies as st

from tabdar_pipeline import normal
from tabdar_pipeline.codec.category import CategoryCodec
from tabdar_pipeline.codec.line import Line
from tabdar_pipeline.codec.number import NumberCodec, NumberSettings
from tabdar_pipeline.codec.table import Block, TableCodec
from tabdar_pipeline.schemas.infer import infer_schema

KINDS = [
    pa.int8(),
    pa.int64(),
    pa.uint16(),
    pa.float32(),
    pa.float64(),
    pa.decimal128(9, 2),
    pa.date32(),
    pa.timestamp("s"),
    pa.timestamp("us"),
    pa.timestamp("us", tz="UTC"),
    pa.time64("us"),
    pa.duration("s"),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_shared_values_come_back_as_themselves(kind: pa.DataType) -> None:
    """decode(encode(x)) == x for every type, where each value is shared by enough rows."""
    whole = pa.array(np.random.default_rng(0).integers(0, 40, 2000))
    between = (
        pa.int32()
        if kind == pa.date32()
        else pa.decimal128(21, 2)
        if pa.types.is_decimal(kind)
        else pa.int64()
    )
    column = whole.cast(between).cast(kind)
    codec = NumberCodec.fit(column, NumberSettings())
    back = codec.decode(codec.encode(column, np.random.default_rng(1)), kind)

    assert back.equals(column)


@given(
    levels=st.lists(st.text(max_size=8), min_size=1, max_size=12, unique=True),
    missing=st.booleans(),
    seed=st.integers(0, 99),
)
def test_categories_round_trip(levels: list[str], missing: bool, seed: int) -> None:
    """Any level that five rows share, and NULL, come back as themselves."""
    cells = [*levels * 5, *([None] * 3 if missing else [])]
    column = pa.array(np.random.default_rng(seed).permutation(np.array(cells, object)), pa.string())
    codec = CategoryCodec.fit(column, shared=5)

    assert codec.decode(codec.encode(column), pa.string()).equals(column)
    assert CategoryCodec.from_json(json.loads(json.dumps(codec.to_json()))) == codec


def test_a_level_that_few_rows_have_is_not_kept() -> None:
    """It would point at a person: its cells are unknown, and it is never drawn."""
    codec = CategoryCodec.fit(pa.array(["a"] * 50 + ["b"] * 50 + ["rare"] * 2), shared=5)

    assert set(codec.vocabulary) == {"a", "b"}
    assert codec.encode(pa.array(["rare", "never seen", "a"])).tolist()[:2] == [-1, -1]


def test_a_dense_column_gives_no_real_value_away() -> None:
    """A value that one row has enters only as the mean of several neighbours."""
    values = np.random.default_rng(0).lognormal(10, 1, 5000)
    codec = NumberCodec.fit(pa.array(values), NumberSettings())
    residuals = np.random.default_rng(1).standard_normal(5000)
    codes = np.random.default_rng(2).integers(0, codec.bins, 5000)
    drawn = codec.decode(
        type(codec.encode(pa.array(values), np.random.default_rng(0)))(codes, residuals), pa.float64()
    )

    assert not set(drawn.to_pylist()) & set(values.tolist())
    assert values.min() <= min(drawn.to_pylist()) and max(drawn.to_pylist()) <= values.max()
    assert not set(codec.quantiles.places.tolist()) & set(values.tolist())


@settings(max_examples=30)
@given(st.integers(1, 500), st.integers(-1000, 1000), st.integers(0, 3), st.integers(2, 400))
def test_grids_are_found_and_kept(step: int, origin: int, digits: int, count: int) -> None:
    """Steps of 0.05, whole hundreds: everything drawn lies on the source's own grid."""
    values = (origin + step * np.arange(count)) / 10.0**digits
    line = Line.fit(pa.array(values))

    assert line.column(line.ticks(pa.array(values)), pa.float64()).to_pylist() == values.tolist()


def test_marginals_are_right_before_anything_is_learned() -> None:
    """Standard normal residuals and codes at their own frequency give the column's distribution."""
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(0)
    values = np.where(rng.random(20_000) < 0.3, 0.0, rng.gamma(2, 100, 20_000))
    codec = NumberCodec.fit(pa.array(values), NumberSettings())
    cells = codec.encode(pa.array(values), rng)
    inside = codec.continuous[cells.codes]

    assert ks_2samp(cells.residuals[inside], rng.standard_normal(20_000)).statistic < 0.015
    again = codec.decode(cells._replace(residuals=rng.standard_normal(20_000)), pa.float64())
    assert ks_2samp(again.to_numpy(), values).statistic < 0.01


def test_special_floats_stay_apart_from_null() -> None:
    """NaN, infinities and NULL each come back as what they were."""
    column = pa.array([1.0, 2.0] * 20 + [float("nan"), float("inf"), float("-inf"), None])
    codec = NumberCodec.fit(column, NumberSettings())
    back = codec.decode(codec.encode(column, np.random.default_rng(0)), pa.float64())

    assert str(back.to_pylist()[-4:]) == "[nan, inf, -inf, None]"
    assert str(NumberCodec.from_json(json.loads(json.dumps(codec.to_json()))).to_json()) == str(
        codec.to_json()
    )


def test_large_decimals_are_exact() -> None:
    """No digit goes through a float."""
    column = pa.array([Decimal("12345678901.23"), Decimal("-0.07")] * 10, pa.decimal128(18, 2))
    codec = NumberCodec.fit(column, NumberSettings())

    assert codec.decode(codec.encode(column, np.random.default_rng(0)), column.type).equals(column)


def test_a_step_may_need_more_than_64_bits() -> None:
    """Ticks of 0 fit in 64 bits; the step that multiplies them need not."""
    line = Line(grid=True, origin=1, step=2**63 + 9)

    assert line.column(np.zeros(2), pa.decimal128(38, 0)).to_pylist() == [1, 1]


def test_rank_and_score_are_inverse() -> None:
    """Phi(Phi^-1(u)) == u on the whole table."""
    u = np.linspace(0, 1, 1001)

    np.testing.assert_allclose(normal.rank(normal.score(u)), u, atol=1e-12)


def test_a_table_keeps_its_types_and_columns() -> None:
    """Every column comes back under its own name, in its own type and place."""
    table = mixed_table()
    schema = infer_schema(table, "crm.mixed")
    codec = TableCodec.fit(table, schema, NumberSettings())
    cells = codec.encode(table, schema, np.random.default_rng(0))
    codec = TableCodec.from_json(json.loads(json.dumps(codec.to_json())))
    batch = codec.decode(Block(cells.codes, cells.values, 0, 7), schema)

    assert batch.schema.remove_metadata() == table.schema.remove_metadata()
    for name in ("level", "active", "rating", "country", "nothing"):
        assert batch[name].cast(pa.string()).equals(table[name].combine_chunks().cast(pa.string())), name
    assert not set(batch["customer_id"].to_pylist()) & set() and batch[
        "customer_id"
    ].value_counts().__len__() == len(table)
