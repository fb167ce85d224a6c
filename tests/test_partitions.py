"""Partitions: one fit, a release each under one view, and each refused or kept by itself."""

import datetime as dt
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import LENIENT

from tabdar_pipeline import checkpoint
from tabdar_pipeline.assets import keys, news, partitioned, refreshing, shelf, steps
from tabdar_pipeline.assets.inspection import redraw
from tabdar_pipeline.assets.news import News
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.assets.refreshing import Decided, decide_refresh
from tabdar_pipeline.codec.rules import Rules
from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.errors import SourceError
from tabdar_pipeline.quality.figures import Figures, evaluate
from tabdar_pipeline.release.refresh import Way
from tabdar_pipeline.runtime import OnnxSampler
from tabdar_pipeline.schemas.constraints import Inequality
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.schemas.partitions import Part, Partitioning
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import Release, releases, serving, verify, withdraw

TARGET = "synthetic.orders"
REGIONS = {"column": "region", "values": ["north", "south"]}
MONTHS = {"column": "day", "every": "month", "start": "2024-01-01"}
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


def run(root: Path, job: str, partition: str | None = None, **attributes: Any) -> bool:
    """Whether a job succeeded, as Dagster runs it for a partition or for none."""
    defs = dg.build_defs_for_component(component(root, **attributes))
    done = defs.resolve_job_def(f"{job}_synthetic_orders")
    return done.execute_in_process(partition_key=partition, raise_on_error=False).success


def decide(root: Path, **attributes: Any) -> Decided:
    """What a refresh decides of the source as it is now."""
    plan = plan_of(root, **attributes)
    steps.take_snapshot(plan, Warehouse(plan.database))
    assert plan.partitions is not None
    keys_now = keys.definition(plan.partitions).get_partition_keys()
    return decide_refresh(plan, Warehouse(plan.database), partitions=keys_now)


def learn(plan: Plan) -> None:
    refreshing.learn(plan, lambda _: None)
    steps.export_model(plan)


def release(plan: Plan) -> Release:
    """Draw and publish a partition as if the gate had accepted it: what is judged is not tested here."""
    warehouse = Warehouse(plan.database)
    steps.draw_candidate(plan, warehouse, lambda *_: None)
    accepted = {
        "figures": {"values": {}, "floor": {}},
        "decision": {"passed": True, "reasons": [], "limits": []},
        "candidate": checkpoint.file_hash(plan.desk / steps.CANDIDATE),
        "data_version": steps.last_snapshot(plan)[0].data_version,
        "model": checkpoint.describe(plan.home / steps.MODEL).fingerprint,
    }
    shelf.write_text(plan.desk / "judged.json", json.dumps(accepted))
    return steps.publish_release(plan, warehouse)


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
    assert all(
        run(root, job, part) for job, part in (("refresh", None), ("release", "north"), ("release", "south"))
    )
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
    total, different, least = rows(
        first, f"SELECT count(*), count(DISTINCT order_id), min(order_id) FROM {TARGET}"
    )[0]
    assert total == different and least > 800
    of = serving(Warehouse(first / "w.duckdb"), TARGET)
    prices = [np.array(rows(first, f"SELECT price FROM {it.relation} LIMIT 200"))[:, 0] for it in of]
    assert abs(np.corrcoef(*prices)[0, 1]) < 0.3


def test_each_partition_comes_back_from_its_manifest(first: Path) -> None:
    """Condition, place of its rows and noise are recorded."""
    warehouse = Warehouse(first / "w.duckdb")
    for partition in ("north", "south"):
        assert verify(warehouse, TARGET, partition=partition)
        assert redraw(warehouse, TARGET, first / "run", partition=partition).partition == partition
    (model,) = (first / "run" / TARGET / "models").iterdir()  # shared by both
    assert {it.manifest["model_fingerprint"] for it in serving(warehouse, TARGET)} == {model.name}


def test_a_partition_is_judged_beside_its_own_rows(first: Path) -> None:
    """What no row of it has, but another partition does, is not off the support."""
    source = dict(rows(first, "SELECT region, count(*) FROM shop.orders GROUP BY ALL"))
    for key in ("north", "south"):
        desk = first / "run" / TARGET / "partitions" / key
        figures = json.loads((desk / "judged.json").read_text())["figures"]
        assert figures["rows"]["train"] + figures["rows"]["holdout"] == source[key]
        assert figures["values"]["off_support"] == 0
        assert (desk / "report.html").is_file()


def spoilt(*tables: Any, **named: Any) -> Figures:
    """Figures as they are, but for columns unlike any."""
    found = evaluate(*tables, **named)
    return replace(found, values={**found.values, "shape_error": 100.0})


def test_a_refusal_keeps_the_release_of_that_partition_and_stops_no_other(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """North is refused, south is released anew; the next refresh goes further."""
    strict = {"policy": LENIENT | {"shape_error": 50}, "sample": {"seed": 4}}
    decided = decide(root, **strict)
    assert (decided.refresh.way, decided.due) == (Way.SAMPLE, ("north", "south"))
    learn(plan_of(root, **strict))
    with monkeypatch.context() as patch:
        patch.setattr(steps, "evaluate", spoilt)
        assert not run(root, "release", "north", **strict)
    assert release(plan_of(root, **strict).of("south")).number == 3

    assert released(root) == [(3, "south", True), (2, "south", False), (1, "north", True)]
    assert rows(root, f"SELECT count(*) - count(DISTINCT order_id) FROM {TARGET}") == [(0,)]
    again = decide(root, **strict)
    assert again.refresh.reasons == ("the gate refused the last candidate of north, by the way of sample",)
    assert again.due == ("north",)


def test_a_refresh_releases_the_partitions_that_have_something_new(root: Path) -> None:
    """Not those whose rows are as they were; none where nothing is new at all."""
    assert (decide(root).refresh.way, decide(root).due) == (Way.SKIP, ())
    changed = orders().to_pandas()
    changed.loc[changed.region == "south", "price"] *= 3
    write(root, pa.Table.from_pandas(changed, schema=orders(2).schema, preserve_index=False))
    assert decide(root).due == ("south",)
    more = REGIONS | {"values": ["north", "south", "west"]}
    assert decide(root, partitions=more).due == ("south", "west")
    assert decide(root, train={"epochs": 3}).due == ("north", "south")
    withdraw(Warehouse(root / "w.duckdb"), TARGET, "south")
    assert decide(root, partitions=more).due == ("west",)


def look(root: Path, **attributes: Any) -> News:
    """What a tick of the schedule finds."""
    it = component(root, **attributes)
    return it.look(it.plan(root), Warehouse(root / "w.duckdb"))


def test_a_tick_looks_at_the_source_and_then_at_each_partition(root: Path) -> None:
    """It requests nothing where all were released as they are, and says so; it makes no file."""
    before = sorted((root / "run").rglob("*"))
    quiet = look(root)
    assert not quiet.due
    assert quiet.why.startswith("Nothing new in shop.orders: its checksum is ")
    assert quiet.why.endswith(
        "as before. Of these rows synthetic.orders r0002 (south) and 1 more was released."
    )
    assert sorted((root / "run").rglob("*")) == before

    more = REGIONS | {"values": ["north", "south", "west"]}
    assert look(root, partitions=more) == News(True, "partition 'west' was not released yet")
    assert look(root, sample={"seed": 7}).due

    write(root, orders(seed=5))
    assert "something new: its checksum is" in look(root).why
    assert look(root).due and not look(root, watch={"by": "rows"}).due


def test_a_tick_does_not_read_the_partitions_of_a_large_table(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster gives a tick up after a minute."""
    monkeypatch.setattr(news, "CELLS", 800)
    assert look(root, watch={"by": "rows"}) == News(
        True, "800 rows are too many to look at each partition in a tick"
    )


def test_the_sensor_requests_what_is_due_once_the_model_is_there(tmp_path: Path) -> None:
    """With models of their own, once the snapshot is; what a backfill made requests nothing."""
    for models, told, last in (("one", "drift", "onnx"), ("each", "snapshot", "snapshot")):
        defs = dg.build_defs_for_component(component(tmp_path, partitions=REGIONS | {"models": models}))
        sensor = defs.resolve_sensor_def("partitions_of_synthetic_orders")
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(instance=instance, repository_def=defs.get_repository_def())
            assert not sensor.evaluate_tick(context).run_requests
            due = {keys.DUE: dg.MetadataValue.json(["south"])}
            for step in dict.fromkeys((told, last)):
                key = dg.AssetKey(["synthetic", "orders", step])
                instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=due))
            requests = sensor.evaluate_tick(context).run_requests
        assert [it.partition_key for it in requests or ()] == ["south"]


def test_a_model_each_learns_its_partition_alone(tmp_path: Path) -> None:
    """Its own snapshot, contract, drift and model; keys differ all the same; unchanged, it is skipped."""
    write(tmp_path, orders())
    own_models = {"partitions": REGIONS | {"models": "each"}, "train": {"epochs": 1}}
    plan = plan_of(tmp_path, **own_models)
    warehouse = Warehouse(plan.database)
    assert "nothing was released" in look(tmp_path, **own_models).why
    steps.take_snapshot(plan, warehouse)
    assert partitioned.due(plan, warehouse, REGIONS["values"]).fresh == ("north", "south")
    for own in map(plan.of, REGIONS["values"]):
        assert decide_refresh(own, warehouse).refresh.way is Way.FIT
        learn(own)
        release(own)
    of = serving(warehouse, TARGET)

    assert len({it.manifest["model_fingerprint"] for it in of}) == 2
    assert rows(
        tmp_path, f"SELECT count(*) - count(DISTINCT order_id), min(order_id) > 800 FROM {TARGET}"
    ) == [(0, True)]
    assert rows(tmp_path, f"SELECT count(*) FROM {TARGET} WHERE region = 'south' AND kind = 'pot'") == [(0,)]
    north = plan.of("north")
    assert redraw(warehouse, TARGET, plan.storage, partition="north").partition == "north"
    assert partitioned.due(plan, warehouse, REGIONS["values"]).fresh == ()
    assert decide_refresh(north, warehouse).refresh.way is Way.SKIP
    assert not look(tmp_path, **own_models).due
    assert "Each partition of synthetic.orders has a release" in look(tmp_path, **own_models).why
    assert "partition 'north': train.epochs" in look(tmp_path, **own_models | {"train": {"epochs": 2}}).why
    assert refreshing.learn(north, lambda _: None) is None


def test_months_are_released_each_and_a_new_one_means_a_fit(tmp_path: Path) -> None:
    """Rows lie within their window; a month that the model has not seen is beyond what it can speak."""
    months = {"partitions": MONTHS, "train": {"epochs": 1}}
    write(tmp_path, orders(days=60))
    assert decide(tmp_path, **months).due == ("2024-01-01", "2024-02-01")
    plan = plan_of(tmp_path, **months)
    learn(plan)
    for key in ("2024-01-01", "2024-02-01"):
        release(plan.of(key))
    ends = "SELECT min(day) >= '{}', max(day) < '{}' FROM {}__r000{}"
    assert rows(tmp_path, ends.format("2024-01-01", "2024-02-01", TARGET, 1)) == [(True, True)]
    assert rows(tmp_path, ends.format("2024-02-01", "2024-03-01", TARGET, 2)) == [(True, True)]
    assert rows(tmp_path, f"SELECT count(*) - count(DISTINCT order_id) FROM {TARGET}") == [(0,)]

    write(tmp_path, pa.concat_tables([orders(days=60), march()]))
    decided = decide(tmp_path, **months)
    assert (decided.refresh.way, decided.due) == (Way.FIT, ("2024-03-01",))
    with pytest.raises(
        SourceError, match=r"partition '2024-04-01' of 'day': there must be 20 held-out rows .* 0 rows"
    ):
        release(plan.of("2024-04-01"))


def march() -> pa.Table:
    """Orders of March, with numbers of their own."""
    table = orders(300, seed=1, days=29).to_pandas()
    table["order_id"] += 5000
    table["day"] = table["day"] + dt.timedelta(days=60)
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
    assert "east" not in decide(root, **few).due
    plan = plan_of(root, **few).of("east")
    with pytest.raises(
        SourceError, match=r"partition 'east' of 'region': there must be 20 held-out rows .* 30 rows"
    ):
        steps.draw_candidate(plan, Warehouse(plan.database), lambda *_: None)


def test_a_time_that_rows_are_asked_for_by_is_modelled_by_itself() -> None:
    """Whatever constraint ties it to another one: the constraint is kept by drawing again."""
    days = pa.array(np.datetime64("2024-01-01") + np.arange(40))
    table = pa.table({"ordered": days, "sent": pc.add(days, pa.scalar(dt.timedelta(days=2)))})
    table = table.cast(pa.schema([(name, pa.date32()) for name in table.column_names]))
    rule, schema = Inequality("ordered", "sent"), infer_schema(table, "shop.orders")

    assert Rules.fit([rule], table, schema).gaps == {"sent": "ordered"}
    alone = Rules.fit([rule], table, schema, alone=["sent"])
    assert (alone.gaps, alone.constraints) == ({}, (rule,))


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
