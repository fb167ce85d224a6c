"""Columns that come only in fixed combinations: declared or discovered, kept whatever is drawn first or asked for."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabdar_pipeline.codec.rules import Rules
from tabdar_pipeline.errors import ConditionError, UsageError
from tabdar_pipeline.sampling.engine import Cells
from tabdar_pipeline.sampling.limits import Limit
from tabdar_pipeline.sampling.ties import Tie
from tabdar_pipeline.schemas.constraints import Combination, Dependency, Product, Sum, from_record, to_record
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.schemas.discovery import discover
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.schemas.suite import run_suite
from tabdar_pipeline.synthesizer import TabDAR

CARS = Combination(("make", "fuel", "trim"))
LOST = Combination(("weight", "height"), of="nulls")
OFFERS = [
    ("A", "petrol", "base"),
    ("A", "petrol", "sport"),
    ("A", "diesel", "base"),
    ("B", "electric", "sport"),
]
OFFERS += [("B", "petrol", "eco"), ("C", "electric", "eco"), ("C", "diesel", "base"), ("D", "gas", "base")]


def cars(rows: int = 1200, seed: int = 0) -> pa.Table:
    """Eight offers of 64 that there could be; two numbers that are lost together; a price that knows nothing of it."""
    rng = np.random.default_rng(seed)
    offers = [OFFERS[i] for i in rng.choice(len(OFFERS), rows)]
    lost = rng.random(rows) < 0.3
    return pa.table(
        {
            "price": rng.integers(10, 90, rows),
            **{name: [offer[i] for offer in offers] for i, name in enumerate(CARS.columns)},
            "weight": pa.array(rng.normal(1200, 100, rows), mask=lost),
            "height": pa.array(rng.integers(140, 190, rows), mask=lost),
        }
    )


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return cars()


@pytest.fixture(scope="module")
def model(table: pa.Table) -> TabDAR:
    return TabDAR.fit(table, name="cars", epochs=2)


def offers(table: pa.Table) -> set[tuple[str, str, str]]:
    return set(zip(*(table[name].to_pylist() for name in CARS.columns), strict=True))


def test_combinations_and_patterns_of_null_are_found_and_no_others(table: pa.Table) -> None:
    """Of all three columns together, since no two of them say it all."""
    found = {p.constraint for p in discover(table, infer_schema(table, "cars"))}

    assert found == {CARS, LOST}


def test_common_dependence_is_no_fixed_combination() -> None:
    """Strong dependence leaves rare combinations, of which some are not in the table."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 8, 3000)
    b = np.where(rng.random(3000) < 0.95, a, rng.integers(0, 8, 3000))
    table = pa.table({"a": a.astype(str), "b": b.astype(str), "c": rng.choice(["x", "y"], 3000)})

    assert discover(table, infer_schema(table, "t")) == ()


def test_every_synthetic_row_comes_in_a_combination_of_the_source(model: TabDAR, table: pa.Table) -> None:
    """All of them come, and what is lost is lost together."""
    made = model.sample(2000, seed=1, engine="torch", format="arrow")
    assert isinstance(made, pa.Table)

    assert offers(made) == set(OFFERS)
    assert made["weight"].is_null().equals(made["height"].is_null())
    assert 0.15 < made["weight"].null_count / 2000 < 0.45
    assert not CARS.unlike(made, table).any() and not LOST.unlike(made, table).any()


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("trim = 'eco'", {("B", "petrol", "eco"), ("C", "electric", "eco")}),
        (
            "fuel IN ('electric', 'gas') AND trim IN ('sport', 'base')",
            {("B", "electric", "sport"), ("D", "gas", "base")},
        ),
        ("make <> 'A' AND fuel = 'petrol'", {("B", "petrol", "eco")}),
        ("price > 50 AND make = 'D'", {("D", "gas", "base")}),
    ],
)
def test_conditions_leave_the_combinations_that_meet_them(
    model: TabDAR, where: str, kept: set[object]
) -> None:
    """Whichever columns are limited or given, and whichever is drawn first."""
    made = model.sample(400, where=where, engine="torch", format="arrow")

    assert isinstance(made, pa.Table) and offers(made) == kept


def test_balance_and_given_rows_keep_them(model: TabDAR) -> None:
    """A make that is balanced or given comes with its own fuels and trims."""
    even = model.sample(400, balance={"make": {"A": 1, "D": 1}}, engine="torch", format="arrow")
    given_rows = pa.table({"trim": ["eco", "sport"] * 50, "make": ["B", "A"] * 50})
    made = model.sample(given=given_rows, engine="torch", format="arrow")

    assert isinstance(even, pa.Table) and isinstance(made, pa.Table)
    assert {offer[0] for offer in offers(even)} == {"A", "D"} and offers(even) <= set(OFFERS)
    assert offers(made) == {("B", "petrol", "eco"), ("A", "petrol", "sport")}


def test_conditions_that_no_combination_meets_are_refused(model: TabDAR) -> None:
    """Before anything is drawn, by the columns."""
    with pytest.raises(ConditionError, match="'make', 'trim'"):
        model.sample(10, where="make = 'D' AND trim = 'eco'", engine="torch")
    with pytest.raises(ConditionError, match="'make'"):
        model.sample(10, where="trim = 'eco'", balance={"make": {"B": 1, "D": 1}}, engine="torch")


def test_imputed_cells_keep_them(model: TabDAR, table: pa.Table) -> None:
    """Any of the columns may be missing, or all; what is observed stays."""
    rng = np.random.default_rng(0)
    holes = table.slice(0, 300)
    for name in CARS.columns:
        column = pa.array([None if rng.random() < 0.4 else v for v in holes[name].to_pylist()])
        holes = holes.set_column(holes.column_names.index(name), name, column)
    filled = model.impute(holes, engine="torch")

    assert offers(filled) <= set(OFFERS)


def test_a_combination_that_few_rows_share_is_not_learned() -> None:
    """It would point at a person; where its columns are public, it may come back."""
    table = cars(1200)
    lone = [c.to_pylist() for c in table.columns]
    lone[1][0], lone[2][0], lone[3][0] = "D", "diesel", "sport"
    table = pa.table(lone, names=table.column_names)
    private = TabDAR.fit(table, epochs=1, constraints=[CARS])
    tie = private.codec.rules.ties[0]

    assert len(tie.codes) == len(OFFERS)
    assert json.loads(json.dumps(private.codec.rules.to_json())) == private.codec.rules.to_json()
    assert Rules.from_json(private.codec.rules.to_json()).to_json() == private.codec.rules.to_json()


def test_the_suite_names_a_combination_that_the_source_lacks(table: pa.Table) -> None:
    """The gate sees it, although the table alone breaks nothing."""
    contract = Contract.infer(table, infer_schema(table, "cars"))
    other = table.set_column(1, "make", pa.array(["D"] * table.num_rows))
    verdicts = [
        {e.column: e.success for e in run_suite(it, contract, [], {}, table).expectations}
        for it in (table, other)
    ]

    assert [it[CARS.sentence] for it in verdicts] == [True, False]
    assert verdicts[1][LOST.sentence]


def test_it_is_written_and_read_and_refused() -> None:
    """One column ties nothing."""
    assert from_record(to_record(LOST), "contract") == LOST
    for wrong in (
        {"columns": ["a"]},
        {"columns": "ab"},
        {"columns": ["a", "a"]},
        {"columns": ["a", "b"], "of": "x"},
    ):
        with pytest.raises(UsageError, match="two or more columns"):
            from_record({"kind": "combination"} | wrong, "contract")


@given(st.integers(0, 10_000))
def test_open_codes_are_those_of_the_combinations_that_fit(seed: int) -> None:
    """As a loop over all combinations finds them; within limits, too."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, 4)
    codes = np.unique(rng.integers(0, sizes, (rng.integers(1, 9), 4)), axis=0)
    tie = Tie((3, 0, 2, 1), codes)
    cells = Cells.empty(6, 4)
    cells.codes[:, list(tie.columns)] = rng.integers(0, sizes + 1, (6, 4))
    known = rng.random((6, 4)) < 0.5
    place = int(rng.integers(4))
    column, kept = tie.columns[place], {tie.columns[0]: rng.integers(0, 5, 2)}

    for it, rows in ((tie, codes), (tie.within(kept), codes[np.isin(codes[:, 0], kept[tie.columns[0]])])):
        found = it.open(column, cells, known, int(sizes[place]))
        for b in range(6):
            shown = [i for i in range(4) if i != place and known[b, tie.columns[i]]]
            fits = rows[(rows[:, shown] == cells.codes[b, [tie.columns[i] for i in shown]]).all(axis=1)]
            assert set(np.flatnonzero(found[b])) == set(fits[:, place])
    assert Limit.of_codes(codes[:, 0]).cut.sum() == 0


def test_products_longer_sums_and_sums_of_sums_are_found() -> None:
    """Each with all its parts, though the totals are parts of one another."""
    rng = np.random.default_rng(0)
    quantity, price = rng.integers(1, 9, 800), np.round(rng.gamma(3, 4, 800), 2)
    goods = np.round(quantity * price, 2)
    fees = np.round(rng.gamma(2, 1, (4, 800)), 2)
    tax = np.round(rng.gamma(2, 2, 800), 2)
    table = pa.table(
        {
            "quantity": quantity,
            "price": price,
            "goods": goods,
            **{f"fee {i}": fee for i, fee in enumerate(fees)},
            "fees": np.round(fees.sum(axis=0), 2),
            "tax": tax,
            "total": np.round(goods + tax, 2),
            "flag": rng.integers(0, 2, 800),
        }
    )
    found = {p.constraint for p in discover(table, infer_schema(table, "bills"))}

    assert found == {
        Product("goods", ("quantity", "price"), decimals=2),
        Sum("fees", ("fee 0", "fee 1", "fee 2", "fee 3"), decimals=2),
        Sum("total", ("goods", "tax"), decimals=2),
    }


@given(st.integers(0, 10_000))
def test_no_product_is_found_on_coarse_grids(seed: int) -> None:
    """Flags, counts and their products with flags come about by chance."""
    rng = np.random.default_rng(seed)
    table = pa.table({f"c{i}": rng.integers(0, k, 400) for i, k in enumerate((2, 2, 3, 4, 6, 8, 20))})

    assert not [
        p for p in discover(table, infer_schema(table, "t")) if isinstance(p.constraint, Product | Sum)
    ]


def test_a_column_of_very_many_levels_determines_another() -> None:
    """Found on some levels with all of their rows, since a sample of rows holds hardly one of them twice."""
    rng = np.random.default_rng(0)
    zips = rng.integers(0, 2000, 30_000)
    table = pa.table(
        {
            "zip": [f"{z:05d}" for z in zips],
            "city": [f"city {z % 300}" for z in zips],
            "other": [f"other {i}" for i in rng.integers(0, 300, 30_000)],
        }
    )
    found = {p.constraint for p in discover(table, infer_schema(table, "t"))}

    assert found == {Dependency("zip", "city")}


def priced(rows: int = 20_000, seed: int = 0) -> pa.Table:
    """Sales: more prices and more whole-number zips than a number has codes for, and what follows from which."""
    rng = np.random.default_rng(seed)
    items, zips = rng.integers(0, 400, rows), rng.integers(0, 1500, rows)
    prices = np.random.default_rng(1).permutation(40_000)[:400] / 100
    return pa.table(
        {
            "item": [f"item {i:03d}" for i in items],
            "price": prices[items],
            "zip": pa.array(10_000 + 7 * zips, pa.int32()),
            "city": [f"city {z // 30}" for z in zips],
            "pounds": rng.gamma(2.0, 3.0, rows),
        }
    )


def test_numbers_that_follow_from_a_value_or_lead_to_one_are_told_by_their_values() -> None:
    """Also where they have more values than atoms; those too rare to come back leave the rule as it is."""
    sales = priced()
    rules = {p.constraint for p in discover(sales, infer_schema(sales, "sales"))}
    assert rules == {Dependency("item", "price"), Dependency("zip", "city")}

    model = TabDAR.fit(sales, name="sales", epochs=1, seed=0, constraints=list(rules))
    made = model.sample(5000, seed=1, format="arrow")
    assert set(model.codec.rules.constraints) == rules
    assert made.schema.types == sales.schema.types
    known = pa.concat_tables([sales, made.cast(sales.schema)])
    for rule in rules:
        assert not rule.broken(made).any(), rule.sentence
        assert not rule.broken(known).any(), rule.sentence  # as in the source, not only consistent
    assert len(made["price"].unique()) > 300


def test_several_columns_may_lead_to_one() -> None:
    """None of them asks for another value of it than one that was drawn before."""
    rng = np.random.default_rng(0)
    city = rng.integers(0, 12, 6000)
    table = pa.table(
        {
            "zip": [f"z{c * 5 + i}" for c, i in zip(city, rng.integers(0, 5, 6000), strict=True)],
            "street": [f"s{c * 7 + i}" for c, i in zip(city, rng.integers(0, 7, 6000), strict=True)],
            "agent": [f"a{c * 3 + i}" for c, i in zip(city, rng.integers(0, 3, 6000), strict=True)],
            "city": [f"city {c}" for c in city],
            "state": [f"state {c // 4}" for c in city],
        }
    )
    rules = {p.constraint for p in discover(table, infer_schema(table, "t"))}
    assert {Dependency(it, "city") for it in ("zip", "street", "agent")} <= rules

    model = TabDAR.fit(table, name="t", epochs=1, seed=0, constraints=list(rules))
    known = pa.concat_tables([table, model.sample(3000, seed=1, format="arrow").cast(table.schema)])
    assert not any(rule.broken(known).any() for rule in rules)
