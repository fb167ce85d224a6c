"""A sensor that starts a refresh when, and only when, the source has something new."""

from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from tabdar_pipeline.assets.plan import TARGET_TAG
from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.errors import SourceError, UsageError
from tabdar_pipeline.warehouse.catalog import Selection
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.watermark import mark


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A warehouse of one table."""
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.execute("CREATE SCHEMA crm")
        connection.execute(
            "CREATE TABLE crm.people AS SELECT i AS id, i % 3 AS a, "
            "TIMESTAMP '2024-01-01' + INTERVAL (i) HOUR AS updated_at FROM range(50) t(i)"
        )
    return tmp_path / "w.duckdb"


def change(path: Path, statement: str) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute(statement)


UPDATE = "UPDATE crm.people SET a = a + 1 WHERE id = 7"
INSERT = "INSERT INTO crm.people VALUES (99, 1, '2024-01-01')"
TOUCH = "UPDATE crm.people SET updated_at = '2025-05-05' WHERE id = 3"


@pytest.mark.parametrize(
    ("watch", "seen", "unseen"),
    [
        ({"by": "checksum"}, [UPDATE, INSERT, TOUCH], []),
        ({"by": "rows"}, [INSERT], [UPDATE, TOUCH]),
        ({"by": "watermark", "column": "updated_at"}, [TOUCH], [UPDATE, INSERT]),
    ],
    ids=lambda value: value["by"] if isinstance(value, dict) else "",
)
def test_a_change_that_the_mark_sees_requests_a_run(
    path: Path, watch: dict[str, Any], seen: list[str], unseen: list[str]
) -> None:
    """One run a change; where nothing is new the UI is told what was looked at."""
    source = {"database": str(path), "table": "crm.people"}
    component = SyntheticTable.from_attributes_dict(attributes={"source": source, "watch": watch})
    sensor = dg.build_defs_for_component(component).resolve_sensor_def("changes_of_synthetic_people")
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance=instance) as context:
        assert isinstance(sensor(context), dg.RunRequest)
        for statement in [*unseen, None, *seen]:
            if statement:
                change(path, statement)
            answer = sensor(context)
            if statement in seen:
                assert isinstance(answer, dg.RunRequest)
            else:
                assert isinstance(answer, dg.SkipReason)
                assert f"Nothing new in crm.people: its {watch['by']} is" in str(answer.skip_message)
    assert sensor.minimum_interval_seconds == 300
    assert sensor.job.name == "refresh_synthetic_people"


@dg.job
def refreshing() -> None:
    """What a run of some release is of."""


def test_what_is_new_waits_for_the_run_before(path: Path) -> None:
    """A run of another release is none; the mark is remembered with the run that it requests."""
    source = {"database": str(path), "table": "crm.people"}
    component = SyntheticTable.from_attributes_dict(attributes={"source": source, "watch": {"by": "rows"}})
    sensor = dg.build_defs_for_component(component).resolve_sensor_def("changes_of_synthetic_people")
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance=instance) as context:
        for target in ("synthetic.other", "synthetic.people"):
            instance.create_run_for_job(
                refreshing,
                tags={TARGET_TAG: target},
                status=dg.DagsterRunStatus.STARTED,
            )
            if target == "synthetic.other":
                assert isinstance(sensor(context), dg.RunRequest)
                change(path, INSERT)
        answer = sensor(context)
        assert isinstance(answer, dg.SkipReason)
        assert "crm.people has something new: its rows is 51. Run" in str(answer.skip_message)

        (run,) = instance.get_runs(dg.RunsFilter(tags={TARGET_TAG: "synthetic.people"}))
        instance.report_run_canceled(run)
        assert isinstance(sensor(context), dg.RunRequest)


def test_a_filter_narrows_what_is_watched(path: Path) -> None:
    """Rows that are not taken are no news."""
    some = Selection(where="id < 10")
    before = mark(Warehouse(path), "crm.people", some, "rows")
    change(path, INSERT)
    assert mark(Warehouse(path), "crm.people", some, "rows") == before == "10"


def test_a_column_that_is_not_there_is_refused(path: Path) -> None:
    """By name, with what it may have been."""
    with pytest.raises(SourceError, match=r"crm.people.*'updated'.*updated_at"):
        mark(Warehouse(path), "crm.people", Selection(), "watermark", "updated")
    with pytest.raises(UsageError, match="watermark"):
        mark(Warehouse(path), "crm.people", Selection(), "watermark")
