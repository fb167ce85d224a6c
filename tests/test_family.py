"""Tables that foreign keys join are refreshed in their order, by one schedule."""

import json
from typing import Any

import dagster as dg
import pytest

from tabdar_pipeline.assets.news import News
from tabdar_pipeline.assets.runs import TARGETS_TAG
from tabdar_pipeline.components.family import DONE_TAG
from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.components.table_collection import TableCollection
from tabdar_pipeline.errors import SourceError, WarehouseLocked

JOB = "refresh_family_of_synthetic_customers"
DEFAULTS = {"source": {"database": "w.duckdb"}, "schedule": "0 3 * * *"}


def refers(column: str, other: str) -> dict[str, Any]:
    return {"source": {"references": {column: f"{other}.id"}}}


TABLES: dict[str, Any] = {
    "crm.lines": refers("order_id", "crm.orders"),
    "crm.orders": refers("customer_id", "crm.customers"),
    "crm.customers": {},
    "crm.weather": {},
}


def definitions(tables: dict[str, Any]) -> dg.Definitions:
    attributes = {"defaults": DEFAULTS, "tables": tables}
    return dg.build_defs_for_component(TableCollection.from_attributes_dict(attributes=attributes))


@pytest.fixture
def due(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The tables that have something new; a test fills it."""
    found: set[str] = set()

    def look(self: SyntheticTable, plan: Any, warehouse: Any) -> News:
        del self, warehouse
        return News(plan.table in found, f"{plan.table}: {'news' if plan.table in found else 'nothing new'}")

    monkeypatch.setattr(SyntheticTable, "look", look)
    return found


class Chain:
    """A tick and what follows from it, as the daemon asks for it."""

    def __init__(self, defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.defs, self.instance = defs, instance
        self.job = defs.resolve_job_def(JOB)

    def tick(self) -> Any:
        with dg.build_schedule_context(instance=self.instance) as context:
            return self.defs.resolve_schedule_def(f"{JOB}_schedule")(context)

    def ends(self, request: dg.RunRequest, end: str = "success") -> Any:
        """What is requested when the run that was requested ends so."""
        status = dg.DagsterRunStatus.SUCCESS if end == "success" else dg.DagsterRunStatus.FAILURE
        run = self.instance.create_run_for_job(
            self.job,
            tags={**self.job.tags, **request.tags},
            asset_selection=frozenset(request.asset_selection or ()),
            status=status,
        )
        name = f"family_of_synthetic_customers_after_{end}"
        kind = dg.DagsterEventType.RUN_SUCCESS if end == "success" else dg.DagsterEventType.RUN_FAILURE
        event = dg.DagsterEvent(kind.value, JOB, message=end)
        context = dg.build_run_status_sensor_context(name, event, self.instance, run)
        return self.defs.resolve_sensor_def(name)(context)


def tables_of(request: Any) -> set[str]:
    assert isinstance(request, dg.RunRequest)
    return {key.path[1] for key in request.asset_selection or ()}


def test_a_family_shares_a_schedule_and_others_keep_theirs() -> None:
    """Also a table of another rhythm, or with partitions; each table has its own job for people."""
    defs = definitions(TABLES)
    assert {it.name for it in defs.schedules or ()} == {
        f"{JOB}_schedule",
        "refresh_synthetic_weather_schedule",
    }
    assert json.loads(defs.resolve_job_def(JOB).tags[TARGETS_TAG]) == [
        f"synthetic.{it}" for it in ("customers", "orders", "lines")
    ]
    assert defs.resolve_job_def("refresh_synthetic_orders")

    for differs in ({"schedule": "0 4 * * *"}, {"partitions": {"column": "a", "values": [1]}}):
        names = {it.name for it in definitions(TABLES | {"crm.customers": differs}).schedules or ()}
        assert "refresh_synthetic_customers_schedule" in names
        assert "refresh_family_of_synthetic_orders_schedule" in names


def test_what_is_referred_to_is_refreshed_first(due: set[str]) -> None:
    """And each only once a tick, whether its run released anything or failed."""
    due |= {"crm.customers", "crm.orders"}
    defs = definitions(TABLES)
    with dg.instance_for_test() as instance:
        chain = Chain(defs, instance)
        first = chain.tick()
        assert tables_of(first) == {"customers"}
        assert first.tags["tabdar/news"] == "synthetic.customers: crm.customers: news"
        second = chain.ends(first, "failure")
        assert tables_of(second) == {"orders"}
        due |= {"crm.lines"}  # by the keys of the orders
        third = chain.ends(second)
        assert tables_of(third) == {"lines"}
        assert json.loads(third.tags[DONE_TAG]) == [
            f"synthetic.{it}" for it in ("customers", "orders", "lines")
        ]
        assert "Each table of family_of_synthetic_customers was requested" in chain.ends(third).skip_message


def test_where_nothing_is_new_the_tick_says_so_of_each(due: set[str]) -> None:
    """One that alone has something new does not wait for those before it."""
    defs = definitions(TABLES)
    with dg.instance_for_test() as instance:
        chain = Chain(defs, instance)
        skipped = chain.tick()
        assert skipped.skip_message.splitlines() == [
            f"crm.{it}: nothing new" for it in ("customers", "orders", "lines")
        ]
        due.add("crm.lines")
        assert tables_of(chain.tick()) == {"lines"}


def test_a_run_of_one_of_the_tables_is_waited_for(due: set[str]) -> None:
    """And what a person began is not gone on with."""
    due.add("crm.lines")
    defs = definitions(TABLES)
    with dg.instance_for_test() as instance:
        chain = Chain(defs, instance)
        assert isinstance(chain.ends(dg.RunRequest(tags={})), dg.SkipReason)
        run = instance.create_run_for_job(chain.job, tags=dict(chain.job.tags))
        assert run.run_id in chain.tick().skip_message


def test_a_source_that_cannot_be_read_is_left_to_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its failure alarms whom it must; a database that is locked is looked at again."""
    error: Exception = SourceError("gone")

    def look(*_: Any) -> News:
        raise error

    monkeypatch.setattr(SyntheticTable, "look", look)
    defs = definitions(TABLES)
    with dg.instance_for_test() as instance:
        chain = Chain(defs, instance)
        assert chain.tick().tags["tabdar/news"] == "synthetic.customers: gone"
        error = WarehouseLocked("held")
        assert "could not be looked at, and will be at the next tick: held" in chain.tick().skip_message
