"""Partitions: one fit, a release each under one view, and each refused or kept by itself."""

import datetime as dt
import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import pyarrow as pa
import pytest

from tabdar_pipeline.assets import keys, partitioned, steps
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.errors import SourceError
from tabdar_pipeline.reproduction import reproduce
from tabdar_pipeline.runtime import OnnxSampler
from tabdar_pipeline.schemas.partitions import Part, Partitioning
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import releases, serving, verify

TARGET = "synthetic.orders"
REGIONS = {"column": "region", "values": ["north", "south"]}
MONTHS = {"column": "day", "every": "month", "start": "2024-01-01"}
LENIENT = {
    "shape_error": 100,
    "trend_error": 100,
    "c2st_boosted": 0.5,
    "copies": 1,
    "dcr_share": 0.5,
    **dict.fromkeys(
        ("near_copies", "distance_ratio", "singling_out", "linkability", "membership", "inference"), 1
    ),
}
SHARES = [0.45, 0.35, 0.2]


def orders(rows: int = 800, seed: int = 0, days: int = 60) -> pa.Table:
    """What is ordered where and when, from the first of January 2024 on; north is dear, and alone has pots."""
    rng = np.random.default_rng(seed)
    region = rng.choice(3, rows, p=SHARES)
    first = np.datetime64("2024-01-01")
    return pa.table(
        {
            "order_id": np.arange(1, rows + 1, dtype=np.int32),
            "region": np.array(["north", "south", "west"])[region],
            "day": pa.array((first + rng.integers(0, days, rows)).astype("datetime64[D]")),
            "price": np.round(np.exp(rng.normal(2 - region, 0.3)), 2),
            "kind": np.where(
                (region == 0) & (rng.random(rows) < 0.3), "pot", rng.choice(["tea", "cup"], rows)
            ),
        }
    )


def write(root: Path, table: pa.Table) -> None:
    with duckdb.connect(str(root / "w.duckdb")) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS shop")
        connection.register("rows", table)
        connection.execute("CREATE OR REPLACE TABLE shop.orders AS SELECT * FROM rows")


def component(root: Path, **attributes: Any) -> SyntheticTable:
    settings = {
        "source": {"database": str(root / "w.duckdb"), "table": "shop.orders", "keys": ["order_id"]},
        "train": {"epochs": 2},
        "storage": str(root / "run"),
        "policy": LENIENT,
        "partitions": REGIONS,
    }
    return SyntheticTable.from_attributes_dict(attributes=settings | attributes)


def plan_of(root: Path, **attributes: Any) -> Plan:
    return component(root, **attributes).plan(root)


def run(root: Path, job: str, partition: str | None = None, **attributes: Any) -> dg.ExecuteInProcessResult:
    defs = dg.build_defs_for_component(component(root, **attributes))
    done = defs.resolve_job_def(f"{job}_synthetic_orders")
    return done.execute_in_process(partition_key=partition, raise_on_error=False)


def rows(root: Path, query: str) -> list[Any]:
    with duckdb.connect(str(root / "w.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def released(root: Path) -> list[tuple[int, str | None, bool]]:
    return [(it.number, it.partition, it.served) for it in releases(Warehouse(root / "w.duckdb"), TARGET)]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse after one fit, and a release of both partitions from it."""
    root = tmp_path_factory.mktemp("parted")
    write(root, orders())
    for job, partition in (("refresh", None), ("release", "north"), ("release", "south")):
        assert run(root, job, partition).success
    return root


@pytest.fixture
def root(first: Path, tmp_path: Path) -> Path:
    """A copy of it, for a test to change."""
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_a_backfill_of_several_partitions_costs_one_fit(first: Path) -> None:
    """Both were drawn by one model; each has its own rows, as many as in the source."""
    of = {it.partition: it for it in serving(Warehouse(first / "w.duckdb"), TARGET)}
    count = "SELECT region, count(*) FROM {} WHERE region <> 'west' GROUP BY ALL ORDER BY ALL"

    assert len({it.manifest["model_fingerprint"] for it in of.values()}) == 1
    assert rows(first, count.format(TARGET)) == rows(first, count.format("shop.orders"))
    assert {it.row_count for it in of.values()} == {
        many for _, many in rows(first, count.format("shop.orders"))
    }
    assert of["north"].manifest["partition"]["by"] == "region"


def test_the_view_has_keys_that_differ_and_rows_that_do(first: Path) -> None:
    """No key is of two partitions, nor a real one; and no noise is used twice."""
    found = rows(first, f"SELECT count(*), count(DISTINCT order_id), min(order_id) FROM {TARGET}")[0]
    assert found[0] == found[1] and found[2] > 800
    prices = [
        rows(first, f"SELECT price FROM {it.relation}")
        for it in serving(Warehouse(first / "w.duckdb"), TARGET)
    ]
    assert np.corrcoef(*[np.array(it[:200])[:, 0] for it in prices])[0, 1] < 0.3


def test_each_partition_comes_back_from_its_manifest(first: Path) -> None:
    """Condition, place of its rows and noise are recorded."""
    warehouse, model = Warehouse(first / "w.duckdb"), first / "run" / TARGET / "served" / "model"
    for partition in ("north", "south"):
        assert verify(warehouse, TARGET, partition=partition)
        assert reproduce(warehouse, TARGET, model, partition=partition).row is None


def test_a_partition_is_judged_beside_its_own_rows(first: Path) -> None:
    """What no row of it has, but another partition does, is not off the support."""
    north, south = (
        json.loads((first / "run" / TARGET / "partitions" / key / "judged.json").read_text())
        for key in REGIONS["values"]
    )
    source = dict(rows(first, "SELECT region, count(*) FROM shop.orders GROUP BY ALL"))

    for key, it in (("north", north), ("south", south)):
        assert it["figures"]["rows"]["train"] + it["figures"]["rows"]["holdout"] == source[key]
        assert it["figures"]["values"]["off_support"] == 0
    assert (first / "run" / TARGET / "partitions" / "south" / "report.html").is_file()


def test_a_refusal_keeps_the_release_of_that_partition_and_stops_no_other(root: Path) -> None:
    """North is refused, south is released anew; the next refresh goes further."""
    strict = LENIENT | {"shape_error": 0, "trend_error": 0}
    assert run(root, "refresh", policy=strict, sample={"seed": 4}).success
    assert not run(root, "release", "north", policy=strict, sample={"seed": 4}).success
    assert run(root, "release", "south", sample={"seed": 4}).success

    assert released(root) == [(3, "south", True), (2, "south", False), (1, "north", True)]
    assert run(root, "refresh", policy=strict, sample={"seed": 4}).success
    reasons = json.loads((root / "run" / TARGET / "drift.json").read_text())["refresh"]["reasons"]
    assert "the gate refused the last candidate of north, by the way of sample" in reasons


def requested(root: Path, instance: dg.DagsterInstance, **attributes: Any) -> list[str | None]:
    """The partitions that the sensor requests after a refresh."""
    defs = dg.build_defs_for_component(component(root, **attributes))
    assert defs.resolve_job_def("refresh_synthetic_orders").execute_in_process(instance=instance).success
    sensor = defs.resolve_sensor_def("partitions_of_synthetic_orders")
    context = dg.build_sensor_context(instance=instance, repository_def=defs.get_repository_def())
    return [it.partition_key for it in sensor.evaluate_tick(context).run_requests or ()]


def test_a_refresh_requests_the_partitions_that_have_something_new(root: Path) -> None:
    """Not those whose rows are as they were; none where nothing is new at all."""
    with dg.DagsterInstance.ephemeral() as instance:
        assert requested(root, instance) == []
    changed = orders().to_pandas()
    changed.loc[changed.region == "south", "price"] *= 3
    write(root, pa.Table.from_pandas(changed, preserve_index=False))
    with dg.DagsterInstance.ephemeral() as instance:
        assert requested(root, instance) == ["south"]
    with dg.DagsterInstance.ephemeral() as instance:
        assert requested(root, instance, partitions=REGIONS | {"values": ["north", "south", "west"]}) == [
            "south",
            "west",
        ]


def test_a_model_each_learns_its_partition_alone(tmp_path: Path) -> None:
    """Its own snapshot, contract, drift and model; keys differ all the same; unchanged, it is skipped."""
    write(tmp_path, orders())
    each = {"partitions": REGIONS | {"models": "each"}}
    with dg.DagsterInstance.ephemeral() as instance:
        assert requested(tmp_path, instance, **each) == ["north", "south"]
    for partition in ("north", "south"):
        assert run(tmp_path, "release", partition, **each).success
    of = serving(Warehouse(tmp_path / "w.duckdb"), TARGET)

    assert len({it.manifest["model_fingerprint"] for it in of}) == 2
    assert rows(tmp_path, f"SELECT count(*) - count(DISTINCT order_id) FROM {TARGET}") == [(0,)]
    assert rows(tmp_path, f"SELECT min(order_id) > 800 FROM {TARGET}") == [(True,)]
    assert rows(tmp_path, f"SELECT DISTINCT kind = 'pot' FROM {TARGET} WHERE region = 'south'") == [(False,)]
    home = tmp_path / "run" / TARGET / "partitions" / "north"
    assert (
        reproduce(Warehouse(tmp_path / "w.duckdb"), TARGET, home / "served" / "model", partition="north").row
        is None
    )
    with dg.DagsterInstance.ephemeral() as instance:
        assert requested(tmp_path, instance, **each) == []
    again = run(tmp_path, "release", "north", **each)
    assert again.success and json.loads((home / "drift.json").read_text())["refresh"]["way"] == "skip"


def test_months_are_released_each_and_a_new_one_means_a_fit(tmp_path: Path) -> None:
    """A month that the model has not seen is beyond what it can speak."""
    write(tmp_path, orders(days=31))
    months = {"partitions": MONTHS, "train": {"epochs": 1}}
    with dg.DagsterInstance.ephemeral() as instance:
        assert requested(tmp_path, instance, **months) == ["2024-01-01"]
    assert run(tmp_path, "release", "2024-01-01", **months).success
    write(tmp_path, pa.concat_tables([orders(days=31), later()]))
    with dg.DagsterInstance.ephemeral() as instance:
        assert requested(tmp_path, instance, **months) == ["2024-02-01"]
    record = json.loads((tmp_path / "run" / TARGET / "drift.json").read_text())["refresh"]
    assert record["way"] == "fit"
    assert run(tmp_path, "release", "2024-02-01", **months).success

    assert rows(tmp_path, f"SELECT min(day), max(day) < '2024-03-01' FROM {TARGET}__r0002")[0][1]
    assert rows(tmp_path, f"SELECT min(day) >= '2024-02-01' FROM {TARGET}__r0002") == [(True,)]
    assert rows(tmp_path, f"SELECT count(*) - count(DISTINCT order_id) FROM {TARGET}") == [(0,)]
    assert not run(tmp_path, "release", "2024-03-01", **months).success


def later() -> pa.Table:
    """Orders of February, with numbers of their own."""
    table = orders(300, seed=1, days=29).to_pandas()
    table["order_id"] += 5000
    table["day"] = table["day"] + dt.timedelta(days=31)
    return pa.Table.from_pandas(table, schema=orders(2).schema, preserve_index=False)


@pytest.mark.parametrize(
    ("partitions", "says"),
    [
        ({"column": "regoin", "values": ["north"]}, "column 'regoin': .* Did you mean 'region'"),
        ({"column": "region", "values": ["north", "sout"]}, "'sout' has none. Did you mean 'south'"),
        ({"column": "order_id", "values": [1]}, "must be modelled, however it is a key"),
        ({"column": "price", "values": ["dear"]}, "must be of its type, double"),
        (MONTHS | {"column": "region"}, "windows of time need dates or timestamps"),
        (MONTHS | {"start": "2031-01-01"}, "no row lies at or after 2031-01-01"),
        (
            {"column": "hole", "values": ["a"]},
            "column 'hole': each row must be in a partition, however 400 rows are NULL",
        ),
    ],
    ids=["column", "value", "key", "type", "no times", "start", "null"],
)
def test_what_cannot_be_parted_so_is_refused_before_any_fit(
    tmp_path: Path, partitions: dict[str, Any], says: str
) -> None:
    """The table, the column, the rule and the fact."""
    table = orders().append_column("hole", pa.array(["a", "b", None, None] * 200))
    write(tmp_path, table)
    plan = plan_of(tmp_path, partitions=partitions)
    with pytest.raises(SourceError, match=rf"(?s)table 'shop\.orders', .*{says}"):
        steps.take_snapshot(plan, Warehouse(plan.database))
    assert not (plan.root / "snapshot.json").exists()


@pytest.mark.parametrize(
    ("partitions", "says"),
    [
        ({"column": "region"}, "give values, or every and start"),
        ({**REGIONS, "every": "day", "start": "2024-01-01"}, "give values, or every and start"),
        ({"column": "day", "every": "day"}, "start goes with every"),
        (MONTHS | {"start": "2024-01-15"}, "months must start on the first"),
        (MONTHS | {"start": "January"}, "start must be a day"),
        ({"column": "region", "values": ["a", "a"]}, "values must differ"),
    ],
)
def test_wrong_yaml_is_refused_when_it_loads(partitions: dict[str, Any], says: str) -> None:
    with pytest.raises(Exception, match=says):
        component(Path(), partitions=partitions)


def test_a_partition_of_few_rows_is_refused_by_name_and_never_requested(root: Path) -> None:
    """They could not be judged; those that ask for it by hand are told."""
    table = orders().to_pandas()
    table.loc[table.index[:30], "region"] = "east"
    write(root, pa.Table.from_pandas(table, preserve_index=False))
    few = {"partitions": REGIONS | {"values": ["north", "south", "east"]}}
    with dg.DagsterInstance.ephemeral() as instance:
        assert "east" not in requested(root, instance, **few)
    plan = plan_of(root, **few).of("east")
    with pytest.raises(
        SourceError, match=r"partition 'east' of 'region': there must be 20 held-out rows .* 30 rows"
    ):
        steps.draw_candidate(plan, Warehouse(plan.database), lambda *_: None)


def test_rows_of_a_release_are_shared_out(first: Path) -> None:
    """Where YAML says how many there are, each partition has its share."""
    plan = plan_of(first, sample={"rows": 2000}).of("south")
    sampler = OnnxSampler.load(plan.home / steps.MODEL)
    counts = partitioned.counts(plan)
    stretch = partitioned.stretch(plan, Warehouse(plan.database), sampler, 0)

    assert stretch.rows == round(2000 * counts["south"] / sum(counts.values()))


@pytest.mark.parametrize(
    ("every", "start", "day", "key", "end"),
    [
        ("day", "2024-02-28", "2024-02-29", "2024-02-29", "2024-03-01"),
        ("week", "2024-01-03", "2024-01-16", "2024-01-10", "2024-01-17"),
        ("month", "2023-11-01", "2023-12-31", "2023-12-01", "2024-01-01"),
    ],
)
@pytest.mark.parametrize("kind", [pa.date32(), pa.timestamp("us"), pa.timestamp("ns", "UTC")], ids=str)
def test_windows_are_those_of_dagster(
    every: Any, start: str, day: str, key: str, end: str, kind: pa.DataType
) -> None:
    """The same keys and ends; days before the start are in none."""
    it = Partitioning("day", every=every, start=dt.date.fromisoformat(start))
    cells = (
        pa.array([dt.date.fromisoformat(text) for text in (day, "2020-01-01")])
        .cast(pa.timestamp("us"))
        .cast(kind)
    )
    table = pa.table({"day": cells})
    definition = keys.definition(it)

    assert it.counts(table) == {key: 1}
    assert it.part(key) == Part("day", key, end)
    assert it.part(key).of(table).num_rows == 1
    window = definition.time_window_for_partition_key(key)
    assert (window.start.date().isoformat(), window.end.date().isoformat()) == (key, end)
    assert definition.get_partition_keys()[it.place(key)] == key
