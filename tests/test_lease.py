"""One run at a time works on a table's files; runs of partitions work beside each other."""

import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from tabdar_pipeline.assets import guard, lease
from tabdar_pipeline.assets.lease import held
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.errors import StorageError, TableInUse
from tabdar_pipeline.schemas.partitions import Partitioning

SNAPSHOT = dg.AssetKey(["synthetic", "people", "snapshot"])


def component(root: Path) -> SyntheticTable:
    source = {"database": str(root / "w.duckdb"), "table": "crm.people"}
    return SyntheticTable.from_attributes_dict(attributes={"source": source, "storage": str(root / "run")})


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A table with partitions, and little patience."""
    monkeypatch.setattr(lease, "WAIT_S", 0.05)
    return replace(component(tmp_path).plan(tmp_path), partitions=Partitioning("a", ("0", "1")))


def all_of_them(runs: Collection[str]) -> Collection[str]:
    return runs


def none(_: Collection[str]) -> Collection[str]:
    return ()


def test_a_run_that_has_not_ended_keeps_others_out_between_its_steps(plan: Plan) -> None:
    """It is let in again; once it has ended, another is."""
    for _ in range(2):
        with held(plan, "first", all_of_them):
            pass
    with (
        pytest.raises(TableInUse, match=r"'synthetic.people'.*run first has not ended"),
        held(plan, "second", all_of_them),
    ):
        pass
    with held(plan, "second", none):
        pass
    with pytest.raises(TableInUse, match="run second"), held(plan, "first", all_of_them):
        pass


def test_runs_of_partitions_share_the_table_and_keep_out_who_changes_it(plan: Plan) -> None:
    """Each has its partition to itself."""
    with held(plan.of("0"), "first", all_of_them), held(plan.of("1"), "second", all_of_them):
        pass
    for other in (plan, plan.of("0")):
        with (
            pytest.raises(TableInUse, match=r"run (first|second) has not ended"),
            held(other, "third", all_of_them),
        ):
            pass
    with (
        held(plan, "third", none),
        pytest.raises(TableInUse, match="another process holds"),
        held(plan.of("0"), "first", none),
    ):
        pass


def test_a_run_may_make_what_is_shared_and_its_partition(plan: Plan) -> None:
    """It keeps the table to itself until it ends."""
    with held(plan, "first", all_of_them):
        pass
    with held(plan.of("0"), "first", all_of_them):
        pass
    with pytest.raises(TableInUse), held(plan.of("1"), "second", all_of_them):
        pass


_HOLDER = """
import sys, time
from pathlib import Path
from filelock import FileLock
path = Path(sys.argv[1])
path.parent.mkdir(parents=True)
with FileLock(path):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_process_that_dies_holds_nothing(plan: Plan) -> None:
    """Killed without a word; while it lived, it was told which file it holds."""
    command = [sys.executable, "-c", _HOLDER, str(plan.root / lease.LOCK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with (
            pytest.raises(TableInUse, match=r"another process holds '.*run.lock'"),
            held(plan, "first", none),
        ):
            pass
        process.kill()
    with held(plan, "first", none):
        pass


def test_a_folder_that_cannot_be_made_is_told(plan: Plan) -> None:
    """As other storage is."""
    plan.storage.write_text("a file")
    with pytest.raises(StorageError, match=r"run\.lock"), held(plan, "first", none):
        pass


def test_a_second_run_of_a_table_waits_and_then_says_which_run_is_in_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nobody asked the schedule or the sensor; it goes on where the first is cancelled."""
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.execute(
            "CREATE SCHEMA crm; CREATE TABLE crm.people AS SELECT i % 3 AS a FROM range(50) t(i)"
        )
    monkeypatch.setattr(guard, "FIRST_PAUSE_S", 0.01)
    plan = component(tmp_path).plan(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        job = dg.build_defs_for_component(component(tmp_path)).resolve_job_def("refresh_synthetic_people")
        first = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        with held(plan, first.run_id, none):
            pass

        def run() -> Any:
            return job.execute_in_process(instance=instance, asset_selection=[SNAPSHOT], raise_on_error=False)

        result = run()
        events = [event.event_type_value for event in result.all_events]
        failure = next(event for event in result.all_events if event.is_step_failure)
        assert not result.success and events.count("STEP_UP_FOR_RETRY") == guard.RETRIES
        assert f"run {first.run_id} has not ended" in str(failure.event_specific_data.error)  # type: ignore[union-attr]

        instance.report_run_canceled(first)
        assert run().success
