"""A sensor that starts a refresh when, and only when, the source has something new."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from tabdar_pipeline.assets import runs
from tabdar_pipeline.assets.runs import ATTEMPTS, TARGET_TAG, TARGETS_TAG
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
RELEASE = dg.AssetKey(["synthetic", "people"])
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


@dg.asset(key=["synthetic", "people"])
def people() -> None:
    """What a person may materialize."""


@dg.asset
def other() -> None:
    """Of another table."""


of_people = dg.Definitions([people, other]).resolve_implicit_global_asset_job_def()


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


def watched(path: Path, **attributes: Any) -> dg.Definitions:
    source = {"database": str(path), "table": "crm.people"}
    settings = {"source": source, "watch": {"by": "rows"}, "storage": str(path.with_name("run"))}
    return dg.build_defs_for_component(SyntheticTable.from_attributes_dict(attributes=settings | attributes))


def said(answer: Any) -> str:
    assert isinstance(answer, dg.SkipReason)
    return str(answer.skip_message)


def test_a_run_that_failed_is_requested_again_and_not_for_ever(path: Path) -> None:
    """As often as there are ways further; then a person is told which run failed, until the source changes."""
    defs = watched(path)
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance=instance) as context:
        sensor = defs.resolve_sensor_def("changes_of_synthetic_people")
        job = defs.resolve_job_def("refresh_synthetic_people")
        for _ in range(ATTEMPTS):
            request = sensor(context)
            assert isinstance(request, dg.RunRequest)
            run = instance.create_run_for_job(job, tags={**job.run_tags, **request.tags})
            assert "Nothing new" in said(sensor(context))
            instance.report_run_failed(run)
        assert f"Run {run.run_id} failed, and 3 were requested" in said(sensor(context))

        change(path, INSERT)
        assert isinstance(sensor(context), dg.RunRequest)


def test_a_run_that_succeeded_after_one_that_failed_is_the_last_word(path: Path) -> None:
    """Whoever requested it: here it is a person, who materializes assets."""
    defs = watched(path)
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance=instance) as context:
        sensor = defs.resolve_sensor_def("changes_of_synthetic_people")
        job = defs.resolve_job_def("refresh_synthetic_people")
        request = sensor(context)
        failed = instance.create_run_for_job(job, tags={**job.run_tags, **request.tags})  # type: ignore[union-attr]
        instance.report_run_failed(failed)
        by_hand = instance.create_run_for_job(
            of_people, asset_selection=frozenset({RELEASE}), status=dg.DagsterRunStatus.SUCCESS
        )
        assert by_hand.tags == {}
        assert "Nothing new" in said(sensor(context))


@pytest.mark.parametrize(
    ("tags", "assets"),
    [
        ({}, {RELEASE}),
        ({TARGET_TAG: "synthetic.people", "dagster/partition": "NL"}, None),
        ({TARGETS_TAG: '["synthetic.a", "synthetic.people"]'}, None),
    ],
    ids=["materialize", "partition", "several tables"],
)
def test_any_run_of_the_table_is_waited_for(
    path: Path, tags: dict[str, str], assets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the sensor and by the schedule; one that was lost by a power cut a day ago is not."""
    defs = watched(path, schedule="0 3 * * *")
    with dg.instance_for_test() as instance:  # the context of a schedule is given no other than one on disk
        sensor = defs.resolve_sensor_def("changes_of_synthetic_people")
        schedule = defs.resolve_schedule_def("refresh_synthetic_people_schedule")
        run = instance.create_run_for_job(
            of_people,
            tags=tags,
            asset_selection=None if assets is None else frozenset(assets),
            status=dg.DagsterRunStatus.STARTED,
        )

        def answers() -> list[Any]:
            with (
                dg.build_sensor_context(instance=instance) as looking,
                dg.build_schedule_context(instance=instance) as ticking,
            ):
                return [sensor(looking), schedule(ticking)]

        assert all(run.run_id in said(it) for it in answers())
        monkeypatch.setattr(runs, "LOST", timedelta(seconds=-1))  # as if a day had gone
        assert all(isinstance(it, dg.RunRequest) for it in answers())


def test_a_run_of_another_table_or_a_steward_is_not_waited_for(path: Path) -> None:
    """They work on other files."""
    defs = watched(path)
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance=instance) as context:
        sensor = defs.resolve_sensor_def("changes_of_synthetic_people")
        steward = defs.resolve_job_def("steward_synthetic_people")
        instance.create_run_for_job(steward, tags=dict(steward.tags), status=dg.DagsterRunStatus.STARTED)
        instance.create_run_for_job(
            of_people, asset_selection=frozenset({other.key}), status=dg.DagsterRunStatus.STARTED
        )
        assert isinstance(sensor(context), dg.RunRequest)
