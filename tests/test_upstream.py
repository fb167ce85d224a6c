"""A source that the project itself makes: a materialization of it requests a refresh; and how old a release may be."""

from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from tabdar_pipeline.components.imputed_table import ImputedTable
from tabdar_pipeline.components.synthetic_table import SyntheticTable

SOURCE = {"database": "w.duckdb", "table": "crm.customers", "asset": "warehouse/crm_customers"}
UPSTREAM = dg.AssetKey(["warehouse", "crm_customers"])


@dg.asset(key=UPSTREAM)
def customers() -> None:
    """What another part of the project makes."""


def definitions(component: type[SyntheticTable | ImputedTable], **attributes: Any) -> dg.Definitions:
    table = component.from_attributes_dict(attributes={"source": SOURCE} | attributes)
    return dg.Definitions.merge(dg.build_defs_for_component(table), dg.Definitions(assets=[customers]))


def requested(defs: dg.Definitions, times: int) -> set[str]:
    """What is requested at the tick after so many materializations of the source."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.evaluate_automation_conditions(defs, instance)
        for _ in range(times):
            instance.report_runless_asset_event(dg.AssetMaterialization(UPSTREAM))
            result = dg.evaluate_automation_conditions(defs, instance, cursor=result.cursor)
        keys = defs.resolve_asset_graph().get_all_asset_keys()
        return {key.path[-1] for key in keys if result.get_num_requested(key)}


def test_a_source_that_was_made_anew_requests_all_steps_at_once() -> None:
    """One tick, so that they are one run."""
    defs = definitions(SyntheticTable)
    graph = defs.resolve_asset_graph()

    assert graph.get(dg.AssetKey(["synthetic", "customers", "snapshot"])).parent_keys == {UPSTREAM}
    assert requested(defs, times=1) == {
        "snapshot",
        "drift",
        "model",
        "onnx",
        "candidate",
        "report",
        "customers",
    }


def test_a_source_that_was_made_anew_is_filled_without_a_fit() -> None:
    """As the schedule of an imputed table does; what fills waits until there is a model."""
    assert requested(definitions(ImputedTable), times=1) == {"snapshot"}
    graph = definitions(ImputedTable).resolve_asset_graph()
    follow = {k.path[-1] for k in graph.get_all_asset_keys() if graph.get(k).automation_condition}
    assert follow == {"snapshot", "filled", "customers"}


def test_a_source_of_no_asset_has_no_condition() -> None:
    """It is watched or scheduled."""
    source = {"database": "w.duckdb", "table": "crm.customers"}
    graph = definitions(SyntheticTable, source=source).resolve_asset_graph()

    assert all(graph.get(key).automation_condition is None for key in graph.get_all_asset_keys())


def test_the_age_of_a_release_is_watched_where_it_is_given() -> None:
    """On the release alone."""
    graph = definitions(SyntheticTable, fresh={"hours": 26, "warn_hours": 25}).resolve_asset_graph()
    policies = {key: graph.get(key).freshness_policy for key in graph.get_all_asset_keys()}
    release = policies.pop(dg.AssetKey(["synthetic", "customers"]))

    assert release == dg.FreshnessPolicy.time_window(timedelta(hours=26), timedelta(hours=25))
    assert set(policies.values()) == {None}
    with pytest.raises(Exception, match="warn_hours"):
        definitions(SyntheticTable, fresh={"hours": 1, "warn_hours": 2})
