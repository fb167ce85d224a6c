"""What ties the columns of a row together: discovered, declared, and kept in every synthetic row."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tabdar_pipeline.cli import app
from tabdar_pipeline.codec.number import NumberSettings
from tabdar_pipeline.codec.rules import Rules
from tabdar_pipeline.codec.table import Block, TableCodec
from tabdar_pipeline.errors import ConditionError, UsageError
from tabdar_pipeline.runtime import OnnxSampler
from tabdar_pipeline.schemas.constraints import (
    Dependency,
    Inequality,
    NullWhen,
    Product,
    Sum,
    from_record,
    to_record,
)
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.schemas.discovery import discover
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.synthesizer import TabDAR

TIMES = Inequality("pickup", "dropoff", strict=True)
TOTAL = Sum("total", ("fare", "tip", "tolls"), decimals=2)
CITY = Dependency("zip", "city")
NO_TIP = NullWhen("rating", "payment", ("cash",))
ORDERED = Inequality("child_age", "parent_age")


def taxi(rows: int = 1500, seed: int = 0) -> pa.Table:
    """Trips: times in order, a total, a city that follows from a zip, a rating that cash has not."""
    rng = np.random.default_rng(seed)
    pickup = np.datetime64("2024-01-01T00:00:00", "s") + rng.integers(0, 366 * 86400, rows)
    cents = np.stack([rng.integers(300, 6000, rows), rng.poisson(200, rows), 655 * rng.integers(0, 2, rows)])
    payment = rng.choice(["card", "cash", "app"], rows, p=[0.6, 0.3, 0.1])
    zips = rng.integers(0, 12, rows)
    child, stars = rng.integers(0, 40, rows), rng.integers(0, 5, rows)
    money = [pa.array(c / 100).cast(pa.decimal128(10, 2)) for c in (*cents, cents.sum(axis=0))]
    return pa.table(
        {
            "pickup": pa.array(pickup.astype("datetime64[us]")),
            "dropoff": pa.array((pickup + rng.integers(60, 3600, rows)).astype("datetime64[us]")),
            "fare": pa.array(cents[0] / 100),
            "tip": money[1],
            "tolls": money[2],
            "total": money[3],
            "payment": payment,
            "zip": [f"{10000 + z}" for z in zips],
            "city": [f"city {z // 3}" for z in zips],
            "rating": pa.array(
                [None if p == "cash" else int(r) for p, r in zip(payment, stars, strict=True)]
            ),
            "child_age": child,
            "parent_age": child + rng.integers(0, 40, rows),
        }
    )


@pytest.fixture(scope="module")
def trips() -> pa.Table:
    return taxi()


@pytest.fixture(scope="module")
def model(trips: pa.Table) -> TabDAR:
    found = [p.constraint for p in discover(trips, infer_schema(trips, "trips"))]
    return TabDAR.fit(trips, name="trips", epochs=3, seed=0, constraints=[*found, ORDERED])


@pytest.fixture(scope="module")
def folder(model: TabDAR, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trips") / "model"
    model.save(folder)
    model.export()
    return folder


def test_planted_rules_are_found_and_no_others(trips: pa.Table) -> None:
    """Each with the rows that keep it."""
    found = discover(trips, infer_schema(trips, "trips"))

    assert {p.constraint for p in found} == {TIMES, TOTAL, CITY, NO_TIP}
    assert {p.support for p in found} == {"1,500 of 1,500 rows"}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_nothing_is_found_where_columns_are_drawn_one_by_one(seed: int) -> None:
    """Numbers, categories, times and gaps that know nothing of each other."""
    rng = np.random.default_rng(seed)
    rows = 400
    table = pa.table(
        {
            "a": rng.integers(0, 50, rows),
            "b": rng.normal(size=rows),
            "c": rng.choice(["x", "y", "z"], rows),
            "d": rng.integers(0, 5, rows).astype(str),
            "t": pa.array(rng.integers(0, 10_000, rows).astype("datetime64[s]")),
            "u": pa.array(rng.integers(0, 10_000, rows).astype("datetime64[s]")),
            "n": pa.array(
                np.where(rng.random(rows) < 0.5, np.nan, 1.5 * rng.integers(0, 3, rows)), from_pandas=True
            ),
        }
    )
    assert discover(table, infer_schema(table, "t")) == ()


def test_every_synthetic_row_keeps_every_rule(folder: Path, trips: pa.Table) -> None:
    """Whatever the model has learned in three epochs."""
    sampler = OnnxSampler.load(folder)
    made = pa.Table.from_batches(sampler.sample_batches(3000, seed=1))
    zips = dict(zip(trips["zip"].to_pylist(), trips["city"].to_pylist(), strict=True))

    assert made.schema.types == trips.schema.types
    for rule in (TIMES, TOTAL, NO_TIP, ORDERED):
        assert not rule.broken(made).any(), rule.sentence
    assert all(zips[z] == c for z, c in zip(made["zip"].to_pylist(), made["city"].to_pylist(), strict=True))
    assert sampler.engine.watch.counts["redrawn"] > 0
    minutes = (made["dropoff"].to_numpy() - made["pickup"].to_numpy()).astype("timedelta64[s]").astype(
        int
    ) / 60
    assert minutes.min() > 0 and minutes.max() <= 61


def test_a_time_that_follows_from_another_stays_within_its_own_range() -> None:
    """A long distance from a late start would end in a year that the source cannot have: such a row is drawn again."""
    rng = np.random.default_rng(0)
    start = np.datetime64("2020-01-01T00:00:00") + rng.integers(0, 3 * 365 * 86400, 2000)
    end = start + ((np.datetime64("2023-01-01T00:00:00") - start) * rng.beta(2, 1, 2000)).astype(int) + 1
    table = pa.table(
        {name: pa.array(it.astype("datetime64[us]")) for name, it in (("low", start), ("high", end))}
    )
    rules = Rules.fit([Inequality("low", "high", strict=True)], table, infer_schema(table, "t"))
    late = pa.table(
        {"low": table["low"], "high": pa.array(end.astype("datetime64[us]") + np.timedelta64(1, "D"))}
    )
    beyond = np.asarray(late["high"].to_numpy()) > np.asarray(table["high"].to_numpy()).max()

    assert rules.gaps == {"high": "low"}
    assert beyond.any() and rules.broken(late)[beyond].all()
    assert rules.broken(table).mean() < 0.01
    assert Rules.from_json(json.loads(json.dumps(rules.to_json()))).ranges == rules.ranges
    times = np.asarray(table["high"].to_numpy()).astype(np.int64)
    assert not set(rules.ranges["high"]) & set(times.astype(float))  # no row's own value


def test_rules_hold_in_any_block_under_conditions_and_in_torch(folder: Path, model: TabDAR) -> None:
    """Block b is block b where rows are drawn again; a condition on a total or a part is kept beside the sum."""
    sampler = OnnxSampler.load(folder, threads=2)
    many = pa.Table.from_batches(sampler.sample_batches(2500, seed=3))
    alone = pa.Table.from_batches(sampler.sample_batches(2500, seed=3, blocks=[1]))
    assert alone.equals(many.slice(1024, 1024))

    for where in ("total > 40", "tip BETWEEN 2 AND 2.5", "city = 'city 2' AND payment = 'cash'"):
        made = model.sample(1100, where=where, seed=2, format="arrow", engine="onnx")
        assert isinstance(made, pa.Table)
        assert not model.codec.rules.broken(made).any(), where
        assert not NO_TIP.broken(made).any()
    city = model.sample(200, where="city = 'city 2'", engine="torch", format="arrow")
    assert isinstance(city, pa.Table)
    assert set(city["zip"].to_pylist()) <= {"10006", "10007", "10008"}
    with pytest.raises(ConditionError, match=r"distance from 'pickup'.*alone=\['dropoff'\]"):
        model.sample(10, where="dropoff > '2024-06-01'")
    with pytest.raises(ConditionError, match=r"none that was drawn keeps.*child_age.*Change the condition"):
        model.sample(10, where="child_age = 30 AND parent_age = 20", engine="torch")


def test_a_time_that_stands_alone_can_be_asked_for(trips: pa.Table) -> None:
    """The rows are those of the condition, and in the order that the constraint demands."""
    model = TabDAR.fit(trips, name="trips", epochs=3, seed=0, constraints=[TIMES], alone=["dropoff"])
    late = sorted(trips["dropoff"].to_pylist())[len(trips) // 2]
    made = model.sample(500, where=f"dropoff > '{late}'", engine="torch", format="arrow")

    assert min(made["dropoff"].to_pylist()) > late
    assert not TIMES.broken(made).any()
    with pytest.raises(UsageError, match=r"'dropof' is none of .*\. Choose among them"):
        TabDAR.fit(trips, name="trips", epochs=1, constraints=[TIMES], alone=["dropof"])
    with pytest.raises(UsageError, match=r"'dropoff' is to stand alone now\. Fit from nothing"):
        TabDAR.fit(trips, name="trips", epochs=1, constraints=[TIMES], alone=["dropoff"], warm=model)


def test_the_command_line_lets_a_column_stand_alone(trips: pa.Table, tmp_path: Path) -> None:
    """So that rows can be asked for by it, whatever ties it to others."""
    pq.write_table(trips, tmp_path / "trips.parquet")
    fit = ["fit", str(tmp_path / "trips.parquet"), str(tmp_path / "model"), "--epochs", "1"]
    assert CliRunner().invoke(app, [*fit, "--alone", "dropoff"]).exit_code == 0

    assert "dropoff" not in TabDAR.load(tmp_path / "model").codec.rules.gaps


@pytest.mark.parametrize("point", ["draw", "median"])
def test_imputed_cells_keep_the_rules_and_observed_ones_stay(
    model: TabDAR, trips: pa.Table, point: str
) -> None:
    """A missing total is the sum; a missing time lies on its side of the one that is there."""
    rng = np.random.default_rng(0)
    part = trips.slice(0, 200)
    holes = part
    for name in ("pickup", "dropoff", "total", "zip", "city"):
        hidden = pa.array(rng.random(200) < 0.3)
        column = pa.compute.if_else(hidden, pa.scalar(None, part[name].type), part[name])
        holes = holes.set_column(holes.schema.names.index(name), name, column)
    filled = model.impute(holes, point=point)  # type: ignore[arg-type]

    assert not TIMES.broken(filled).any()
    for name in holes.column_names:
        known = holes[name].is_valid()
        assert filled[name].filter(known).equals(holes[name].filter(known))
        assert (
            filled[name].null_count == (part[name].null_count if name == "rating" else 0) or name == "rating"
        )
    if point == "draw":
        assert not TOTAL.broken(filled).any()
        assert not CITY.broken(
            pa.concat_tables([trips.select(["zip", "city"]), filled.select(["zip", "city"])])
        ).any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_what_is_encoded_under_rules_comes_back(seed: int) -> None:
    """decode(encode(x)) == x, with times as distances."""
    trips = taxi(150, seed)
    schema = infer_schema(trips, "trips")
    codec = TableCodec.fit(trips, schema, NumberSettings(shared=1), constraints=[TIMES, TOTAL, CITY, NO_TIP])
    cells = codec.encode(trips, schema)
    back = codec.decode(Block(cells.codes, cells.values, 0, 0), schema)
    known = [c for c in schema.names if c != "fare"]

    assert codec.rules.gaps == {"dropoff": "pickup"}
    assert pa.Table.from_batches([back]).select(known).equals(trips.select(known))
    assert TableCodec.from_json(codec.to_json()).rules.to_json() == codec.rules.to_json()


def test_a_contract_carries_its_constraints(trips: pa.Table) -> None:
    """Round trip through YAML; the hash covers them; rows that break one are counted, and no reason to stop."""
    contract = Contract.infer(trips, infer_schema(trips, "trips"))
    again = Contract.from_yaml(contract.to_yaml())
    late = trips.set_column(1, "dropoff", trips["pickup"])

    assert set(again.constraints) == {TIMES, TOTAL, CITY, NO_TIP}
    assert again == contract and again.hash == contract.hash
    assert Contract(contract.schema, contract.rules).hash != contract.hash
    assert contract.exceptions(trips) == {}
    assert contract.exceptions(late) == {TIMES.sentence: 1500}


@pytest.mark.parametrize(
    ("entry", "fact"),
    [
        ("{kind: order, low: a, high: b}", "must be of"),
        ("{kind: inequality, low: pickup, high: arrival}", "'arrival'"),
        ("{kind: inequality, low: pickup}", "must be whole"),
        ("{kind: inequality, low: pickup, high: dropoff, by: 3}", "keys of 'inequality'"),
    ],
)
def test_a_constraint_that_makes_no_sense_is_refused(trips: pa.Table, entry: str, fact: str) -> None:
    """By name, with what is wrong."""
    text = Contract.infer(trips, infer_schema(trips, "trips")).to_yaml().split("\nconstraints:")[0] + "\n"
    with pytest.raises(UsageError, match=fact):
        Contract.from_yaml(f"{text}constraints:\n- {entry}\n")


def test_a_diff_says_what_a_person_must_decide(trips: pa.Table, tmp_path: Path) -> None:
    """Compatible drift exits with 0, all else with 1; `tabdar contract SOURCE` still proposes."""
    run, source, contract = CliRunner(), tmp_path / "trips.parquet", tmp_path / "trips.yaml"
    pq.write_table(trips, source)
    assert run.invoke(app, ["contract", str(source), "--out", str(contract)]).exit_code == 0
    assert "# kept by 1,500 of 1,500 rows\n- kind: inequality\n  low: pickup\n" in contract.read_text()
    ask = ["contract", "diff", str(contract), str(source)]
    assert run.invoke(app, ask).stdout.strip() == "nothing changed"

    more = trips.set_column(6, "payment", pa.array(["coin", *trips["payment"].to_pylist()[1:]]))
    more = more.set_column(10, "child_age", pa.array([-3, *trips["child_age"].to_pylist()[1:]]))
    pq.write_table(more.set_column(1, "dropoff", trips["pickup"]), source)
    said = run.invoke(app, ask)
    assert said.exit_code == 0
    for line in (
        "payment: new levels 'coin'",
        "child_age: minimum is -3, was 0",
        f"{TIMES.sentence} is broken by 1,500",
    ):
        assert line in said.stdout

    pq.write_table(more.drop_columns(["tip"]).append_column("tax", trips["fare"]), source)
    said = run.invoke(app, [*ask, "--json"])
    facts = json.loads(said.stdout)
    assert said.exit_code == 1
    assert not facts["compatible"]
    assert {d["column"] for d in facts["differences"] if not d["compatible"]} == {"tip", "tax"}


LINE = Product("line", ("quantity", "price"), decimals=2)
BILL = Sum("bill", ("line", "postage"), decimals=2)


def bills(rows: int = 1500) -> pa.Table:
    """Lines of a bill: quantity times price, and postage on top."""
    rng = np.random.default_rng(0)
    quantity, price = rng.integers(0, 9, rows), np.round(rng.gamma(3, 4, rows), 2)
    line, postage = np.round(quantity * price, 2), rng.choice([0.0, 3.95, 6.5], rows)
    names = ("quantity", "price", "line", "postage", "bill")
    return pa.table([quantity, price, line, postage, np.round(line + postage, 2)], names=names)


def test_a_product_holds_in_every_row_and_in_a_total_above_it() -> None:
    """Declared in either order; a total that is given is kept, and a factor follows from it."""
    table = bills()
    model = TabDAR.fit(table, epochs=3, constraints=[BILL, LINE])
    made = model.sample(2000, engine="torch", format="arrow")
    asked = model.sample(300, where="line > 40", engine="torch", format="arrow")
    assert isinstance(made, pa.Table) and isinstance(asked, pa.Table)

    for rule in (LINE, BILL):
        assert not rule.broken(table).any()
        assert not rule.broken(made).any(), rule.sentence
    assert min(asked["line"].to_pylist()) > 40


@pytest.mark.parametrize("hidden", ["line", "price", "bill"])
def test_a_missing_cell_of_a_product_follows_from_the_others(hidden: str) -> None:
    """By arithmetic, not by the model; a price of nothing bought cannot."""
    table = bills(400)
    model = TabDAR.fit(table, epochs=1, constraints=[LINE, BILL])
    column = pa.array([None] * 400, pa.float64())
    filled = model.impute(table.set_column(table.column_names.index(hidden), hidden, column), point="draw")
    bought = np.asarray(table["quantity"]) > 0

    assert isinstance(filled, pa.Table)
    assert np.allclose(np.asarray(filled[hidden])[bought], np.asarray(table[hidden])[bought], atol=0.006)


def test_a_product_is_written_and_read() -> None:
    assert from_record(to_record(LINE), "contract") == LINE
    assert LINE.sentence == "'line' = 'quantity' * 'price'"
