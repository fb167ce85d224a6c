"""Which way a refresh goes: as short as what is new allows, and never silently."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import pyarrow as pa
import pytest

from tabdar_pipeline.assets import models, news, refreshing, served, steps
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.assets.refreshing import Decided, decide_refresh, learn
from tabdar_pipeline.codec.coverage import unspoken
from tabdar_pipeline.codec.number import NumberSettings
from tabdar_pipeline.codec.table import TableCodec
from tabdar_pipeline.components import ticks
from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.errors import SourceError, UsageError
from tabdar_pipeline.quality.drift import drift
from tabdar_pipeline.release.refresh import Demand, RefreshPolicy, Steps, Way, settle
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.synthesizer import TabDAR
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import publish, releases, rollback

TARGET = "synthetic.orders"
ROWS = 800


EVEN = (1 / 3, 1 / 3, 1 / 3)


def orders(rows: int = ROWS, seed: int = 0, shares: tuple[float, float, float] = EVEN) -> pa.Table:
    """Prices that follow from what is bought, in one of four towns."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, rows, p=shares)
    price = np.round(np.exp(rng.normal(2 + kind, 0.4).clip(1.5, 4.5)), 2)
    return pa.table(
        {
            "order_id": pa.array(np.arange(seed * 100_000, seed * 100_000 + rows)),
            "kind": np.array(["tea", "cup", "pot"])[kind],
            "price": price,
            "town": np.array(["Ede", "Goes", "Hoorn", "Tiel"])[rng.choice(4, rows, p=[0.4, 0.3, 0.2, 0.1])],
        }
    )


def write(path: Path, table: pa.Table) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS shop")
        connection.register("rows", table)
        connection.execute("CREATE OR REPLACE TABLE shop.orders AS SELECT * FROM rows")


def component(root: Path, **attributes: Any) -> SyntheticTable:
    settings = {
        "source": {"database": str(root / "w.duckdb"), "table": "shop.orders"},
        "train": {"epochs": 2},
        "storage": str(root / "run"),
        "policy": {
            "shape_error": 100,
            "trend_error": 100,
            "c2st_boosted": 0.5,
            "copies": 1,
            "dcr_share": 0.5,
        },
    }
    return SyntheticTable.from_attributes_dict(attributes=settings | attributes)


def plan_of(root: Path, **attributes: Any) -> Plan:
    return component(root, **attributes).plan(root)


def release(plan: Plan) -> None:
    """Publish the source itself, as if its model had drawn it: what is judged is not tested here."""
    taken, _, _ = steps.last_snapshot(plan)
    warehouse, fingerprint = Warehouse(plan.database), TabDAR.load(plan.home / steps.MODEL).fingerprint
    manifest = {"model_fingerprint": fingerprint, "source": steps.source_record(plan, taken)}
    done = publish(warehouse, TARGET, taken.path, taken.sql_types, manifest)
    models.keep(plan.storage, plan.target, plan.home / steps.MODEL, fingerprint)
    served.keep(plan, plan.home / steps.MODEL, plan.home / steps.CONTRACT, taken, done.identifier)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse and a home after one release."""
    root = tmp_path_factory.mktemp("refresh")
    write(root / "w.duckdb", orders())
    plan = plan_of(root)
    steps.take_snapshot(plan, Warehouse(plan.database))
    steps.fit_model(plan, lambda _: None)
    release(plan)
    return root


@pytest.fixture
def root(first: Path, tmp_path: Path) -> Path:
    """A copy of it, for a test to change."""
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    return tmp_path


def refresh(root: Path, table: pa.Table | None = None, asked: Way = Way.SKIP, **attributes: Any) -> Decided:
    if table is not None:
        write(root / "w.duckdb", table)
    plan = plan_of(root, **attributes)
    steps.take_snapshot(plan, Warehouse(plan.database))
    return decide_refresh(plan, Warehouse(plan.database), asked)


def test_an_unchanged_source_is_skipped(root: Path) -> None:
    """And the reason names the release that stays."""
    decided = refresh(root)

    assert decided.refresh.way is Way.SKIP
    assert decided.refresh.reasons == ("shop.orders has nothing new since synthetic.orders r0001",)
    assert learn(plan_of(root), lambda _: None) is None


def test_rows_of_the_same_distribution_are_skipped(root: Path) -> None:
    """All of them new: the drift of each figure is within what two halves of the old rows show."""
    decided = refresh(root, orders(seed=1))
    figures = decided.refresh.drift

    assert decided.refresh.way is Way.SKIP, decided
    assert figures is not None and set(figures.columns) == {"kind", "price", "town"}
    assert 0 < figures.columns["price"] <= figures.columns_floor["price"]
    assert figures.joint <= figures.joint_floor + 0.01


def test_more_rows_of_the_same_distribution_are_drawn_from_the_same_model(root: Path) -> None:
    """Its fingerprint changes by its keys alone; what it was fitted on is said."""
    decided = refresh(root, pa.concat_tables([orders(), orders(400, seed=1)]))
    plan = plan_of(root)
    before = TabDAR.load(plan.home / steps.MODEL)
    model = learn(plan, lambda _: None)

    assert decided.refresh.way is Way.SAMPLE
    assert decided.refresh.reasons == ("the source has 1,200 rows, and had 800",)
    assert model is not None and model.history == before.history
    assert model.codec.made != before.codec.made
    assert model.codec.to_json()["columns"] == before.codec.to_json()["columns"]
    assert model.settings["data_version"] == before.settings["data_version"]


def test_a_drifted_column_is_learned_by_a_warm_start(root: Path) -> None:
    """A share of the budget, beginning with the served model; the column is named."""
    decided = refresh(root, pa.concat_tables([orders(), orders(300, seed=1, shares=(0, 0, 1))]))
    plan = plan_of(root)
    model = learn(plan, lambda _: None)

    assert decided.refresh.way is Way.WARM
    assert "has drifted by" in decided.refresh.reasons[0]
    assert model is not None and model.settings["epochs"] == 1
    assert model.settings["warm"] == served.Served.read(plan.home).model  # type: ignore[union-attr]


def test_a_source_that_has_become_another_is_learned_from_nothing(root: Path) -> None:
    """Beyond the limits of a warm start."""
    decided = refresh(root, orders(seed=1, shares=(0, 0.1, 0.9)))

    assert decided.refresh.way is Way.FIT
    assert learn(plan_of(root), lambda _: None).settings["warm"] is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("attributes", "way", "fact"),
    [
        ({"train": {"epochs": 3}}, Way.FIT, "train.epochs is 3, was 2"),
        ({"source": {"table": "shop.orders", "limit": 1000}}, Way.FIT, "source.limit is 1000, was None"),
        ({"sample": {"seed": 4}}, Way.SAMPLE, "sample.seed is 4, was 0"),
        ({"policy": {}}, Way.SAMPLE, "policy.shape_error is 3.0, was 100.0"),
    ],
    ids=["train", "source", "seed", "policy"],
)
def test_a_changed_setting_demands_the_way_that_it_bears_on(
    root: Path, attributes: dict[str, Any], way: Way, fact: str
) -> None:
    """What the model depends on: a fit. What rows and gate depend on: new rows."""
    if "source" in attributes:
        attributes["source"] = {"database": str(root / "w.duckdb"), **attributes["source"]}
    decided = refresh(root, **attributes)

    assert decided.refresh.way is way
    assert fact in decided.refresh.reasons


def changed(**columns: Any) -> pa.Table:
    """The orders with some columns put in the place of others."""
    table = orders()
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return table


def test_a_level_that_the_model_cannot_speak_means_a_fit(root: Path) -> None:
    """A level of one row would not be learned in any case: it is carried."""
    towns = orders()["town"].to_pylist()
    once = refresh(root, changed(town=["Urk", *towns[1:]]))
    often = refresh(root, changed(town=["Urk"] * 30 + towns[30:]))

    assert once.refresh.way is Way.SKIP
    assert [it.line.strip() for it in once.differences] == ["town: new levels 'Urk'"]
    assert often.refresh.way is Way.FIT
    assert "'town': 1 levels, each of" in often.refresh.reasons[0]
    assert "Urk" not in str(often.refresh.to_json())


def test_nulls_and_a_wider_range_are_carried_into_a_fit(root: Path) -> None:
    """Both are compatible: no person is asked."""
    prices = orders()["price"].to_pylist()
    for values in ([None] * 60 + prices[60:], [x * 50 for x in prices[:60]] + prices[60:]):
        decided = refresh(root, changed(price=values))
        assert decided.refresh.way is Way.FIT and not decided.stopped
        assert all(it.compatible for it in decided.differences) and decided.differences


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (orders().drop_columns(["town"]), "! town: is gone"),
        (orders().append_column("vat", pa.array([1.0] * ROWS)), "! vat: is new, of type double"),
        (
            changed(price=[str(x) for x in orders()["price"].to_pylist()]),
            "! price: type is string, was double",
        ),
    ],
    ids=["gone", "new", "type"],
)
def test_another_schema_stops_with_the_diff(root: Path, table: pa.Table, line: str) -> None:
    """Nothing is decided; a person who asks for a fit gets it."""
    decided = refresh(root, table)
    with pytest.raises(SourceError):
        learn(plan_of(root), lambda _: None)

    assert [it.line for it in decided.stopped] == [line]
    assert refresh(root, table, asked=Way.FIT).refresh.way is Way.FIT


def test_a_release_that_a_person_went_back_from_is_no_beginning(root: Path) -> None:
    """Nothing new: their choice stands. Something new: a fit from nothing."""
    plan = plan_of(root)
    taken, _, _ = steps.last_snapshot(plan)
    other = publish(Warehouse(plan.database), TARGET, taken.path, taken.sql_types, {"model_fingerprint": "b"})
    rollback(Warehouse(plan.database), TARGET, 1)
    rollback(Warehouse(plan.database), TARGET, other.number)

    assert refresh(root).refresh.way is Way.SKIP
    assert refresh(root, refresh={"allow": ["sample"]}).refresh.way is Way.FIT
    again = refresh(root, pa.concat_tables([orders(), orders(400, seed=1)]))
    assert again.refresh.way is Way.FIT
    assert "r0002 is served, which another model" in again.refresh.reasons[0]


def test_what_the_gate_refused_is_tried_one_way_further(root: Path) -> None:
    """Drawn anew and refused: a warm start next."""
    refresh(root, sample={"seed": 4})
    plan = plan_of(root)
    version = steps.last_snapshot(plan)[0].data_version
    judged = f'{{"data_version": "{version}", "decision": {{"passed": false}}}}'
    (plan.home / "judged.json").write_text(judged)

    assert refresh(root, sample={"seed": 4}).refresh.way is Way.WARM
    assert refresh(root, sample={"seed": 4}).refresh.way is Way.FIT


def test_a_torn_model_is_no_beginning(root: Path) -> None:
    """It is fitted from nothing, and the reason names the file."""
    (model,) = (plan_of(root).home / "models").iterdir()
    (model / "weights.safetensors").write_bytes(b"")
    decided = refresh(root)

    assert decided.refresh.way is Way.FIT
    assert "weights.safetensors" in decided.refresh.reasons[0]


def test_the_snapshot_of_the_served_model_is_kept(root: Path) -> None:
    """And no other but the last."""
    home = plan_of(root).home
    plan = plan_of(root)
    for seed in (1, 2, 3):
        write(root / "w.duckdb", orders(seed=seed))
        steps.take_snapshot(plan, Warehouse(plan.database))

    assert len(list((home / "snapshots").glob("*.parquet"))) == 2
    assert served.Served.read(home).snapshot(home).is_file()  # type: ignore[union-attr]


def test_a_policy_can_allow_less() -> None:
    """The next way that is allowed is gone, and why is said."""
    demands = [Demand(Way.SKIP, "little"), Demand(Way.SAMPLE, "more rows")]
    taken = settle(RefreshPolicy(allow=(Way.SKIP,)), demands, None, "")

    assert taken.way is Way.FIT
    assert taken.reasons == ("more rows", "the policy does not allow to sample from the same model")
    assert settle(RefreshPolicy(allow=()), [], None, "nothing").way is Way.FIT
    with pytest.raises(UsageError, match="must rise"):
        Steps(2, 1, 3)
    with pytest.raises(Exception, match="must rise"):
        component(Path(), refresh={"columns": {"skip": 21}})


def test_drift_of_equal_states_is_nothing_and_of_others_is_large() -> None:
    """Also where rows occur many times, and where there are too few to say anything."""
    few = pa.table({"a": ["x", "y"] * 300, "b": ["u", "u", "v"] * 200})
    schema = infer_schema(few, "t")
    same = drift(few, few, schema)
    other = drift(few, pa.table({"a": ["x"] * 600, "b": ["u", "u", "v"] * 200}), schema)
    tiny = drift(few.slice(0, 8), few, schema)

    assert max(same.beyond.values()) == 0 and same.joint_beyond == 0
    assert next(iter(other.beyond)) == "a" and other.beyond["a"] > 30 and other.joint_beyond > 0.15
    assert tiny.columns == {} and tiny.joint == 0.5
    assert asdict(same)["rows"] == (600, 600)


def test_what_a_codec_has_no_word_for_is_told() -> None:
    """Levels, NULLs, ranges, steps and NaN, each where it is clearly more than chance."""
    rng = np.random.default_rng(0)
    table = pa.table({"a": rng.choice(["x", "y"], 500), "n": rng.integers(0, 50, 500) * 2.0})
    schema = infer_schema(table, "t")
    codec = TableCodec.fit(table, schema, NumberSettings())

    def told(name: str, values: list[Any]) -> tuple[str, ...]:
        cells = values + table[name].to_pylist()[len(values) :]
        return unspoken(
            codec, table.set_column(table.column_names.index(name), name, pa.array(cells)), schema
        )

    assert told("a", []) == told("a", ["z"] * 10) == told("n", [None] * 10) == told("n", [999.0] * 10) == ()
    assert "1 levels" in told("a", ["z"] * 20)[0]
    assert "20 cells are NULL" in told("n", [None] * 20)[0]
    assert "20 cells lie beyond the range" in told("n", [999.0] * 20)[0]
    assert "20 cells lie between the steps" in told("n", [3.0] * 20)[0]
    assert "20 cells are no numbers" in told("n", [float("nan")] * 20)[0]


def test_a_job_with_nothing_new_runs_no_model_and_says_why(root: Path) -> None:
    """The decision is a tag of the run and metadata of its asset; all that follows is skipped."""
    job = dg.build_defs_for_component(component(root)).resolve_job_def("refresh_synthetic_orders")
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance)
        run = instance.get_run_by_id(result.run_id)
    made = [e.asset_key.path[-1] for e in result.get_asset_materialization_events()]
    facts = result.asset_materializations_for_node("synthetic__orders__drift")[0].metadata

    assert result.success
    assert made == ["snapshot", "drift"]
    assert run is not None and run.tags["tabdar/refresh"] == "skip"
    assert facts["way"].value == "skip" and "nothing new since" in facts["reasons"].value
    assert len(releases(Warehouse(root / "w.duckdb"), TARGET)) == 1


def test_a_person_can_ask_for_more(root: Path) -> None:
    """`way: sample` in the configuration of the step: the same model, whatever is new."""
    before = TabDAR.load(plan_of(root).home / steps.MODEL).fingerprint
    defs = dg.build_defs_for_component(component(root))
    job = defs.resolve_job_def("refresh_synthetic_orders")
    way = [dg.AssetKey(["synthetic", "orders", step]) for step in ("snapshot", "drift", "model")]
    result = job.execute_in_process(
        run_config={"ops": {"synthetic__orders__drift": {"config": {"way": "sample"}}}}, asset_selection=way
    )
    facts = [result.asset_materializations_for_node(f"synthetic__orders__{s}")[0] for s in ("drift", "model")]

    assert "a person asked for it: sample" in facts[0].metadata["reasons"].value
    assert facts[1].metadata["model_fingerprint"].value == before


def test_a_decision_for_another_snapshot_is_not_followed(root: Path) -> None:
    """The drift step must have run since the last snapshot."""
    refresh(root)
    write(root / "w.duckdb", orders(seed=2))
    plan = plan_of(root)
    steps.take_snapshot(plan, Warehouse(plan.database))

    with pytest.raises(SourceError, match="Materialize `drift` first"):
        refreshing.decided_way(plan)
    assert replace(plan, rows=3).refresh == plan.refresh


def tick(
    root: Path, busy: dg.DagsterRunStatus | None = None, **attributes: Any
) -> dg.RunRequest | dg.SkipReason:
    """What a tick of the schedule answers, where there is a run of this status."""
    defs = dg.build_defs_for_component(component(root, **{"schedule": "0 3 * * *"} | attributes))
    (schedule,) = defs.schedules or ()
    assert isinstance(schedule, dg.ScheduleDefinition)
    with dg.instance_for_test() as instance:  # a context is given no other than one on disk
        if busy:
            job = defs.resolve_job_def(schedule.job_name)
            instance.create_run_for_job(job, tags=dict(job.tags), status=busy)
        answer = schedule(dg.build_schedule_context(instance=instance))
    assert isinstance(answer, dg.RunRequest | dg.SkipReason)
    return answer


def why(answer: dg.RunRequest | dg.SkipReason) -> str:
    return str(answer.skip_message) if isinstance(answer, dg.SkipReason) else answer.tags["tabdar/news"]


@pytest.mark.parametrize("watch", [None, {"by": "rows"}, {"by": "watermark", "column": "order_id"}], ids=str)
def test_a_tick_with_nothing_new_starts_no_run_and_says_why(root: Path, watch: dict[str, str] | None) -> None:
    """Nor does it take a snapshot; something new, as far as the mark shows it, requests the run."""
    attributes = {} if watch is None else {"watch": watch}
    assert isinstance(tick(root, **attributes), dg.RunRequest)  # the last run did not decide
    refresh(root)
    before = sorted((root / "run").rglob("*"))
    skipped, by = tick(root, **attributes), watch["by"] if watch else "checksum"

    assert isinstance(skipped, dg.SkipReason)
    assert why(skipped).startswith(f"Nothing new in shop.orders: its {by} is ")
    assert why(skipped).endswith("as before. Of these rows synthetic.orders r0001 was released.")
    assert sorted((root / "run").rglob("*")) == before

    write(root / "w.duckdb", pa.concat_tables([orders(), orders(400, seed=1)]))
    due = tick(root, **attributes)
    assert isinstance(due, dg.RunRequest)
    assert f"shop.orders has something new: its {by} is " in why(due)


def test_rows_that_a_run_let_pass_are_not_new_to_the_next_tick(root: Path) -> None:
    """Their drift was within what chance shows: the release stayed, and so does that verdict while its limits do."""
    assert refresh(root, orders(seed=1)).refresh.way is Way.SKIP
    strict = {"columns": {"skip": 0, "sample": 0, "warm": 0}}

    assert isinstance(tick(root), dg.SkipReason)
    assert "as before. The last run released nothing: " in why(tick(root))
    assert "limits of `refresh`" in why(tick(root, refresh=strict))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"train": {"epochs": 3}}, "train.epochs is 3, was 2"),
        ({"sample": {"seed": 5}}, "sample.seed is 5, was 0"),
        ({"target": "other"}, "nothing was released as other.orders yet"),
        ({"refresh": {"allow": []}}, "does not allow to keep the release"),
        ({"watch": {"by": "watermark", "column": "nobody"}}, "must have the column 'nobody' to watch"),
        ({"contract": "gone.yaml"}, "gone.yaml"),
    ],
    ids=["train", "sample", "target", "allow", "column", "contract"],
)
def test_a_tick_requests_a_run_where_more_than_the_source_is_new(
    root: Path, attributes: dict[str, Any], reason: str
) -> None:
    """And where it cannot tell: the run fails with the reason, and alarms whom it must."""
    refresh(root)
    assert isinstance(tick(root, **attributes), dg.RunRequest)
    assert reason in why(tick(root, **attributes))


def test_a_tick_requests_a_run_after_one_that_did_not_end_in_a_release(root: Path) -> None:
    """A source that is as it was at the last snapshot, of which nothing came, is still to be released."""
    assert refresh(root, orders(seed=1, shares=(0.8, 0.1, 0.1))).refresh.way is not Way.SKIP
    assert "did not end in a release" in why(tick(root))

    release(plan_of(root))
    assert isinstance(tick(root), dg.SkipReason)
    assert why(tick(root)).endswith("as before. Of these rows synthetic.orders r0002 was released.")
    shutil.rmtree(root / "run" / "synthetic.orders" / "models")
    assert "cannot be used" in why(tick(root))


def test_a_tick_that_finds_the_database_locked_says_who_holds_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is skipped; the next one looks again."""
    refresh(root)
    monkeypatch.setattr(ticks, "LOOK_S", 0.05)
    with duckdb.connect(str(root / "w.duckdb")):
        skipped = tick(root)

    assert isinstance(skipped, dg.SkipReason)
    assert "could not be looked at" in why(skipped) and "holds it" in why(skipped)
    assert "Nothing new" in why(tick(root))


def test_a_tick_waits_for_a_run_that_is_in_progress(root: Path) -> None:
    """Two at once would work on the same files; one that has ended is none."""
    waiting = tick(root, busy=dg.DagsterRunStatus.STARTED)

    assert isinstance(waiting, dg.SkipReason)
    assert "of synthetic.orders is in progress" in why(waiting)
    assert isinstance(tick(root, busy=dg.DagsterRunStatus.FAILURE), dg.RunRequest)


def test_a_checksum_of_too_many_cells_is_left_to_the_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster gives a tick up after a minute."""
    refresh(root)
    monkeypatch.setattr(news, "CELLS", ROWS)

    assert "too many for a checksum" in why(tick(root))
    assert isinstance(tick(root, watch={"by": "rows"}), dg.SkipReason)
