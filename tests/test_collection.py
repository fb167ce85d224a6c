"""Many tables in one YAML: defaults, and what differs."""

import time
from typing import Any

import dagster as dg
import pytest

from tabdar_pipeline.components.table_collection import TableCollection

DEFAULTS: dict[str, Any] = {
    "source": {"database": "w.duckdb"},
    "train": {"seconds": 60, "seed": 1},
    "schedule": "0 3 * * *",
}


def collection(tables: dict[str, Any], **defaults: Any) -> TableCollection:
    attributes = {"defaults": DEFAULTS | defaults, "tables": tables}
    return TableCollection.from_attributes_dict(attributes=attributes)


def test_each_table_has_the_assets_checks_job_and_schedule_of_its_own() -> None:
    """As a SyntheticTable would; an entry may be empty."""
    tables = {"crm.customers": None, "crm.orders": {"watch": {"by": "rows"}}}
    defs = dg.build_defs_for_component(collection(tables))
    graph = defs.resolve_asset_graph()

    for name in ("customers", "orders"):
        assert dg.AssetKey(["synthetic", name, "model"]) in graph.get_all_asset_keys()
        assert dg.AssetKey(["crm", name]) in graph.get_all_asset_keys()
        assert defs.resolve_schedule_def(f"refresh_synthetic_{name}_schedule").cron_schedule == "0 3 * * *"
    assert [sensor.name for sensor in defs.sensors or ()] == ["changes_of_synthetic_orders"]
    assert len(graph.asset_check_keys) == 8


def test_what_differs_stands_in_the_place_of_the_default_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within nested settings too; environment variables are read."""
    monkeypatch.setenv("SHOP", "shop.duckdb")
    found = {}

    class Kept(TableCollection):
        def table(self, name: str, attributes: Any) -> Any:
            found[name] = super().table(name, attributes)
            return found[name]

    attributes = {
        "defaults": DEFAULTS | {"source": {"database": "{{ env.SHOP }}"}},
        "tables": {"crm.a": {"train": {"seconds": 300}}, "crm.b": {"schedule": None}},
    }
    dg.build_defs_for_component(Kept.from_attributes_dict(attributes=attributes))

    assert [(t.train.seconds, t.train.seed) for t in found.values()] == [(300, 1), (60, 1)]
    assert [t.schedule for t in found.values()] == ["0 3 * * *", None]
    assert [(t.source.database, t.source.table) for t in found.values()] == [
        ("shop.duckdb", "crm.a"),
        ("shop.duckdb", "crm.b"),
    ]


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({}, "tables"),
        ({"crm.a": {"trian": {}}}, "crm.a.*trian"),
        ({"crm.a": {"keep": 0}}, "crm.a.*keep"),
        ({"crm.a": {}, "hr.a": {}}, "'crm.a' and 'hr.a' both have 'synthetic.a'"),
    ],
    ids=["none", "unknown", "wrong", "same target"],
)
def test_a_wrong_entry_is_refused_and_its_table_named(tables: dict[str, Any], says: str) -> None:
    """When the definitions load."""
    with pytest.raises(Exception, match=f"(?s){says}"):
        dg.build_defs_for_component(collection(tables))


def test_the_definitions_of_a_hundred_tables_load_within_five_seconds() -> None:
    """Components, assets, checks, jobs and schedules, resolved as Dagster does; processor time."""
    started = time.process_time()
    defs = dg.build_defs_for_component(collection({f"crm.t{i:03d}": {} for i in range(100)}))
    repository = defs.get_repository_def()
    seconds = time.process_time() - started

    assert len(list(repository.get_all_jobs())) >= 100
    assert seconds < 5, f"{seconds:.1f} s"


def test_foreign_keys_order_the_tables() -> None:
    """What refers to another table follows the release of that one, and to itself, nothing."""
    tables = {
        "crm.orders": {"source": {"references": {"customer_id": "crm.customers.id", "of": "crm.orders.id"}}},
        "crm.customers": {},
    }
    graph = dg.build_defs_for_component(collection(tables)).resolve_asset_graph()
    snapshot = graph.get(dg.AssetKey(["synthetic", "orders", "snapshot"]))

    assert snapshot.parent_keys == {dg.AssetKey(["crm", "orders"]), dg.AssetKey(["synthetic", "customers"])}
    assert snapshot.automation_condition is not None
    other = graph.get(dg.AssetKey(["synthetic", "customers", "snapshot"]))
    assert other.automation_condition is None


def test_a_release_that_is_referred_to_requests_what_refers_to_it() -> None:
    """All steps in one tick; the source, which nobody's asset makes, need not be there."""
    tables = {"crm.orders": {"source": {"references": {"c": "crm.customers.id"}}}, "crm.customers": {}}
    defs = dg.build_defs_for_component(collection(tables))
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = dg.evaluate_automation_conditions(defs, instance).cursor
        instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["synthetic", "customers"])))
        result = dg.evaluate_automation_conditions(defs, instance, cursor=cursor)
    keys = defs.resolve_asset_graph().get_all_asset_keys()
    requested = {"/".join(key.path) for key in keys if result.get_num_requested(key)}

    steps = ("snapshot", "drift", "model", "onnx", "candidate", "report")
    assert requested == {"synthetic/orders", *(f"synthetic/orders/{step}" for step in steps)}


def test_foreign_keys_that_go_in_a_circle_are_refused() -> None:
    """None of the tables could be released first."""
    tables = {
        "crm.a": {"source": {"references": {"b": "crm.b.id"}}},
        "crm.b": {"source": {"references": {"a": "crm.a.id"}}},
    }
    with pytest.raises(Exception, match=r"crm\.a -> crm\.b -> crm\.a|crm\.b -> crm\.a -> crm\.b"):
        dg.build_defs_for_component(collection(tables))
