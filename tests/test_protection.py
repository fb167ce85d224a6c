"""Privacy of a column: what few rows share stays where it is, unless one word makes it public."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabdar_pipeline.codec.number import NumberCodec, NumberSettings
from tabdar_pipeline.codec.protection import EXTRA, Protection
from tabdar_pipeline.codec.quantile import Quantiles
from tabdar_pipeline.codec.table import TableCodec
from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.schemas.columns import Column, Kind
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.schemas.table import TableSchema

TOWNS = ["Delft"] * 600 + ["Leiden"] * 390 + ["Urk"] * 3 + ["Sluis"] * 1 + [f"T{i}" for i in range(6)]
INCOME = np.r_[np.random.default_rng(0).normal(40_000, 5_000, 997).round(2), 9e6, 9e6 + 1, -1e6]
TABLE = pa.table({"town": TOWNS, "income": INCOME, "key": [f"K-{i:04d}" for i in range(1000)]})
SCHEMA = infer_schema(TABLE, "crm.people", keys=["key"])


def said(**privacy: dict[str, object]) -> TableSchema:
    """The schema with what these columns say of privacy."""
    columns = (replace(c, **privacy.get(c.name, {})) for c in SCHEMA.columns)
    return TableSchema(SCHEMA.name, tuple(columns))


def fitted(schema: TableSchema, rng: np.random.Generator | None = None) -> TableCodec:
    """The codecs of the table."""
    return TableCodec.fit(TABLE, schema, NumberSettings(), rng=rng)


def test_what_is_kept_back_is_counted_by_column() -> None:
    """Levels and their cells, numbers that were clipped; and it is read back from JSON."""
    codec = fitted(SCHEMA)

    assert codec.protected["town"] == Protection(rows=5, levels=8, cells=10)
    assert codec.protected["income"].clipped >= 3
    assert TableCodec.from_json(json.loads(json.dumps(codec.to_json()))).protected == codec.protected


def test_a_public_column_comes_back_as_it_is() -> None:
    """Levels that one row has are drawn, extremes are reached, nothing is counted."""
    codec = fitted(said(town={"privacy": "public"}, income={"privacy": "public"}))
    town, income = codec.columns

    assert set(town.vocabulary) == set(TOWNS)
    assert income.ends == tuple(income.line.ticks(pa.array([-1e6, 9e6 + 1])))
    assert set(codec.protected.values()) == {Protection(rows=1)}


def test_the_threshold_is_the_column_s_own() -> None:
    """Three rows are enough where it says so, and a hundred are not."""
    assert "Urk" in fitted(said(town={"rare": 3})).columns[0].vocabulary
    assert fitted(said(town={"rare": 391})).columns[0].vocabulary == ("Delft",)


def test_the_threshold_is_blurred_by_the_seed() -> None:
    """The same seed gives the same thresholds; over seeds they are 5 to 7, never fewer."""
    rows = [fitted(SCHEMA, np.random.default_rng(s)).protected["town"].rows for s in range(20)]
    again = [fitted(SCHEMA, np.random.default_rng(s)).protected["town"].rows for s in range(20)]

    assert rows == again
    assert set(rows) == set(range(5, 5 + EXTRA + 1))


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=300),
    shared=st.integers(2, 9),
    seed=st.integers(0, 99),
)
def test_no_end_is_of_fewer_rows_than_must_share_a_value(counts: list[int], shared: int, seed: int) -> None:
    """The curve ends at a shared value or at a mean of enough rows, wherever the table ends."""
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.integers(1, 1000, len(counts))).astype(float)
    curve = Quantiles.fit(values, np.array(counts), shared)
    cells = np.repeat(values, counts)

    assert (np.diff(curve.ranks) >= 0).all() and (np.diff(curve.places) >= 0).all()
    assert curve.places[0] >= cells[:shared].mean() - 1e-6
    assert curve.places[-1] <= cells[-shared:].mean() + 1e-6


@pytest.mark.parametrize("rows", [5001, 5003, 9999])
def test_the_largest_of_a_dense_column_is_never_drawn(rows: int) -> None:
    """However many rows there are beside whole groups of neighbours."""
    values = np.random.default_rng(rows).lognormal(10, 1, rows)
    low, high = NumberCodec.fit(pa.array(values), NumberSettings()).ends

    assert np.sort(values)[4] > low > values.min() and np.sort(values)[-5] < high < values.max()


def test_a_lone_number_among_shared_ones_is_not_kept() -> None:
    """It takes the value of its neighbour, at either end and between."""
    column = pa.array([0, 1, 2, 7] * 50 + [4, 999, -999])
    codec = NumberCodec.fit(column, NumberSettings())
    back = codec.decode(codec.encode(column, np.random.default_rng(0)), column.type)

    assert codec.quantiles is None and codec.ends == tuple(codec.line.ticks(pa.array([0, 7])))
    assert back.to_pylist()[-3:] in ([2, 7, 0], [7, 7, 0])


def test_a_contract_says_what_is_public() -> None:
    """It round-trips, changes the hash, and says nothing where it is the default."""
    plain = Contract.infer(TABLE, SCHEMA)
    open_ = Contract.infer(TABLE, said(town={"privacy": "public"}, income={"rare": 20}))

    assert "\n    privacy:" not in plain.to_yaml() and "\n    rare:" not in plain.to_yaml()
    assert "    privacy: public\n" in open_.to_yaml()
    assert Contract.from_yaml(open_.to_yaml()).schema == open_.schema
    assert len({plain.hash, open_.hash, Contract.infer(TABLE, said(town={"rare": 20})).hash}) == 3


def test_a_fingerprint_is_what_it_was_before_columns_had_privacy() -> None:
    """Older contracts, manifests and models still agree with each other."""
    schema = TableSchema("t", (Column("a", Kind.NUMBER, "int64", "BIGINT", nullable=False),))
    assert schema.fingerprint == "552b6aa1966c52025f84fce24c72744070779a24cc514197bd59cbc4d28aeb4d"
    old = {"name": "a", "kind": "number", "arrow_type": "int64", "sql_type": "BIGINT", "nullable": False}
    assert TableSchema.from_json({"name": "t", "columns": [old]}) == schema


@pytest.mark.parametrize(
    ("column", "wrong", "says"),
    [
        ("key", {"privacy": "public"}, "a key is made anew"),
        ("town", {"privacy": "off"}, "one of protect, public, however it is 'off'"),
        ("town", {"rare": 1}, "at least 2 rows, however it is 1"),
        ("town", {"rare": "many"}, "a whole number"),
        ("town", {"rare": 9, "privacy": "public"}, "rare must not be given"),
    ],
)
def test_a_privacy_that_means_nothing_is_refused(column: str, wrong: dict[str, object], says: str) -> None:
    """Naming the table, the column, the fact and the next step."""
    with pytest.raises(UsageError, match=f"table 'crm.people', column '{column}'.*{says}"):
        said(**{column: wrong})
