"""What a person does with releases, as a Dagster job: the same as `tabdar release`."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pytest

from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.promotion import promotions
from tabdar_pipeline.warehouse.publish import find, publish, releases

TARGET = "synthetic.people"


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """Two releases; the newer is served."""
    duckdb.connect(str(tmp_path / "w.duckdb")).close()
    it = Warehouse(tmp_path / "w.duckdb", wait_s=5)
    for n in (1, 2):
        publish(it, TARGET, pa.table({"id": range(n)}), {"id": "BIGINT"}, {})
    return it


def steward(warehouse: Warehouse, **config: Any) -> dg.ExecuteInProcessResult:
    source = {"database": str(warehouse.path), "table": "crm.people"}
    table = SyntheticTable.from_attributes_dict(attributes={"source": source})
    job = dg.build_defs_for_component(table).resolve_job_def("steward_synthetic_people")
    asked = {"ops": {"steward_synthetic_people_release": {"config": config}}}
    return job.execute_in_process(run_config=asked, raise_on_error=False)


def said(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (observed,) = result.get_asset_observation_events()
    data = observed.asset_observation_data.asset_observation
    assert data.asset_key == dg.AssetKey(["synthetic", "people"])
    return {name: value.value for name, value in data.metadata.items()}


def test_each_action_does_what_the_command_does(warehouse: Warehouse) -> None:
    assert said(steward(warehouse))["outcome"] == f"{TARGET} r0002 is as it was published"
    assert said(steward(warehouse, action="rollback")) == {
        "action": "rollback",
        "outcome": f"{TARGET} r0001 is served",
        "served": f"{TARGET} r0001",
    }
    steward(warehouse, action="promote", number=1, who="Ann", why="reviewed")
    assert [(it.number, it.who, it.why) for it in promotions(warehouse, TARGET)] == [(1, "Ann", "reviewed")]
    steward(warehouse, action="retire", number=2)
    assert [it.number for it in releases(warehouse, TARGET) if it.retired] == [2]


def test_what_is_asked_is_answered_with_its_facts(warehouse: Warehouse, tmp_path: Path) -> None:
    """Releases with stage and approvals, one with its manifest, what differs, and a folder to hand on."""
    steward(warehouse, action="promote", number=1, who="Ann", why="reviewed")
    later, earlier = said(steward(warehouse, action="list"))["result"]
    assert (later["number"], later["stage"], later["approvals"]) == (2, "accepted", [])
    assert (earlier["stage"], earlier["approvals"][0]["who"]) == ("promoted", "Ann")

    shown = said(steward(warehouse, action="show", number=1))
    assert shown["outcome"] == f"{TARGET} r0001 is promoted"
    assert shown["result"]["manifest"]["rows"] == 1

    compared = said(steward(warehouse, action="diff", before=1, number=2))["result"]
    assert {"fact": "rows", "before": 1, "after": 2} in compared["differences"]


@pytest.mark.parametrize(
    ("config", "fact"),
    [
        ({"action": "retire"}, "must have the number of a release"),
        ({"action": "diff", "number": 2}, "Give `before`"),
        ({"action": "export"}, "must have a folder"),
        ({"action": "reproduce"}, "must be kept under"),
        ({"action": "retire", "number": 2}, "must not be served to be retired"),
        ({"action": "promote", "number": 1, "who": "Ann"}, "must say why"),
    ],
)
def test_what_cannot_be_done_fails_the_run_and_changes_nothing(
    warehouse: Warehouse, config: dict[str, Any], fact: str
) -> None:
    result = steward(warehouse, **config)

    (failed,) = [it for it in result.all_events if it.is_step_failure]
    assert re.search(fact, str(failed.step_failure_data.error_display_string))
    assert find(warehouse, TARGET).number == 2
    assert not promotions(warehouse, TARGET)


def test_rows_that_were_altered_fail_the_run(warehouse: Warehouse) -> None:
    with duckdb.connect(str(warehouse.path)) as connection:
        connection.execute("DELETE FROM synthetic.people__r0002 WHERE id = 0")

    assert not steward(warehouse).success
