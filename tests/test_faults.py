"""Faults that nobody watches: a locked database, a step that takes too much, a run that is cancelled."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pwd import getpwnam
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import pyarrow as pa
import pytest
from conftest import LENIENT

from tabdar_pipeline.assets import guard, synthetic
from tabdar_pipeline.assets.limits import GB, Limits, within
from tabdar_pipeline.assets.resources import WarehouseResource
from tabdar_pipeline.components import table, ticks
from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.errors import LimitExceeded, UsageError, WarehouseLocked
from tabdar_pipeline.warehouse import snapshot as snapshots
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import publish, releases, verify

SNAPSHOT = dg.AssetKey(["synthetic", "people", "snapshot"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A warehouse of one table."""
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.execute("CREATE SCHEMA crm")
        connection.execute("CREATE TABLE crm.people AS SELECT i % 3 AS a FROM range(50) t(i)")
    return tmp_path


def definitions(root: Path, **attributes: Any) -> dg.Definitions:
    source = {"database": str(root / "w.duckdb"), "table": "crm.people"}
    settings = {"source": source, "storage": str(root / "run"), "watch": {"by": "rows"}}
    component = SyntheticTable.from_attributes_dict(attributes=settings | attributes)
    return dg.build_defs_for_component(component)


def take_snapshot(root: Path, **attributes: Any) -> dg.ExecuteInProcessResult:
    job = definitions(root, **attributes, resources="given")
    impatient = dg.Definitions.merge(
        job, dg.Definitions(resources={"warehouse": WarehouseResource(wait_s=0.05), "compute": table.COMPUTE})
    )
    return impatient.resolve_job_def("refresh_synthetic_people").execute_in_process(
        asset_selection=[SNAPSHOT], raise_on_error=False
    )


def test_a_step_that_finds_the_database_locked_is_tried_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause; here the lock goes when it was met once."""
    holder, take = duckdb.connect(str(root / "w.duckdb")), synthetic.steps.take_snapshot

    def locked_once(*args: Any) -> Any:
        try:
            return take(*args)
        except WarehouseLocked:
            holder.close()
            raise

    monkeypatch.setattr(guard, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(synthetic.steps, "take_snapshot", locked_once)
    result = take_snapshot(root)

    assert result.success
    assert [event.event_type_value for event in result.all_events].count("STEP_UP_FOR_RETRY") == 1


def test_a_database_that_stays_locked_fails_the_step_and_says_who_holds_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After as many tries as are allowed."""
    monkeypatch.setattr(guard, "FIRST_PAUSE_S", 0.01)
    with duckdb.connect(str(root / "w.duckdb")):
        result = take_snapshot(root)
    events = [event.event_type_value for event in result.all_events]
    failure = next(event for event in result.all_events if event.is_step_failure)

    assert not result.success
    assert events.count("STEP_UP_FOR_RETRY") == guard.RETRIES
    assert "must be free for a moment" in str(failure.event_specific_data.error)  # type: ignore[union-attr]


def test_a_sensor_that_finds_the_database_locked_says_so_and_looks_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no failure, and nothing is missed."""
    monkeypatch.setattr(ticks, "LOOK_S", 0.05)
    sensor = definitions(root).resolve_sensor_def("changes_of_synthetic_people")
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance=instance) as context:
        with duckdb.connect(str(root / "w.duckdb")):
            skipped = sensor(context)
        assert isinstance(skipped, dg.SkipReason)
        assert "could not be looked at" in str(skipped.skip_message)
        assert isinstance(sensor(context), dg.RunRequest)


def test_a_step_that_takes_too_long_is_stopped() -> None:
    """Also where a library swallows the exception; the clock is off afterwards."""
    started = time.monotonic()
    with (
        pytest.raises(LimitExceeded, match=r"step 'a' must end within 0.001 minutes"),
        within(Limits(0.06), "a"),
    ):
        time.sleep(5)
    with pytest.raises(LimitExceeded), within(Limits(0.06), "a"), suppress(Exception):
        time.sleep(5)
    with within(Limits(9.0), "a"):
        pass

    assert time.monotonic() - started < 2
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel keeps this limit on Linux alone")
def test_a_step_that_asks_for_too_much_memory_is_refused_it() -> None:
    """By the kernel; what it may use it can use, and other errors stay what they are."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    limits = Limits(memory=int(status["VmData"].split()[0]) * 1024 + 500_000_000)
    with within(limits, "a"):
        assert len(np.ones(10_000_000)) == 10_000_000
    with pytest.raises(LimitExceeded, match=r"step 'a' must do with .* GB of memory"), within(limits, "a"):
        np.ones(500_000_000)
    with pytest.raises(KeyError), within(limits, "a"):
        raise KeyError("other")

    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_a_limit_of_time_needs_the_main_thread() -> None:
    """Signals reach no other: it is refused, not forgotten."""
    found: list[BaseException] = []

    def work() -> None:
        try:
            with within(Limits(1.0), "a"):
                pass
        except UsageError as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert "main thread" in str(found[0])


def test_a_limit_in_yaml_fails_the_step_at_once_and_says_what_to_do(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not tried again."""
    monkeypatch.setattr(synthetic.steps, "take_snapshot", lambda *_: time.sleep(5))
    result = take_snapshot(root, limits={"minutes": 0.001})
    failure = next(event for event in result.all_events if event.is_step_failure)

    assert "Raise `limits.minutes`" in str(failure.event_specific_data.error)  # type: ignore[union-attr]
    assert "STEP_UP_FOR_RETRY" not in [event.event_type_value for event in result.all_events]


def test_a_step_has_limits_of_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does not say is as for all."""
    monkeypatch.setattr(synthetic.steps, "take_snapshot", lambda *_: time.sleep(5))
    failure = failure_of(
        take_snapshot(root, limits={"minutes": 60, "steps": {"snapshot": {"minutes": 0.001}}})
    )
    attributes = {"limits": {"minutes": 5, "steps": {"model": {"minutes": 90, "memory_gb": 4}}}}
    limits = (
        SyntheticTable.from_attributes_dict(
            attributes=attributes | {"source": {"database": "w.duckdb", "table": "crm.people"}}
        )
        .plan(root)
        .limits
    )

    assert "must end within 0.001 minutes" in failure
    assert limits.of("model") == Limits(90 * 60, 4 * GB)
    assert limits.of("report") == Limits(5 * 60)


def test_training_that_failed_is_tried_once_more(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on from the state that it kept."""

    def fail(*_: Any) -> None:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(guard, "AGAIN_S", 0.01)
    monkeypatch.setattr(synthetic.refreshing, "decided_way", fail)
    job = definitions(root).resolve_job_def("refresh_synthetic_people")
    result = job.execute_in_process(raise_on_error=False)
    events = [event.event_type_value for event in result.all_events]

    assert events.count("STEP_UP_FOR_RETRY") == 1
    assert not result.success


def test_a_cancelled_snapshot_leaves_no_lock_and_no_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """^C and Dagster's cancellation are exceptions inside the connection."""

    def cancelled(connection: Any, query: str, path: Path) -> int:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(snapshots, "write_query", cancelled)
    with pytest.raises(KeyboardInterrupt):
        snapshots.snapshot(Warehouse(root / "w.duckdb"), "crm.people", root / "snapshots")

    duckdb.connect(str(root / "w.duckdb")).close()  # refused while a connection of another mode is open
    assert list((root / "snapshots").iterdir()) == []


_JOB = """
import sys
from pathlib import Path
import dagster as dg
from tabdar_pipeline.components.synthetic_table import SyntheticTable
root, table = Path(sys.argv[1]), sys.argv[2]
lenient = {"shape_error": 100, "trend_error": 100, "c2st_boosted": 0.5, "dcr_share": 0.5, "copies": 1}
component = SyntheticTable.from_attributes_dict(attributes={
    "source": {"database": str(root / "w.duckdb"), "table": f"crm.{table}"},
    "train": {"epochs": 1}, "policy": lenient, "storage": str(root / "run"),
})
dg.build_defs_for_component(component).resolve_job_def(f"refresh_synthetic_{table}").execute_in_process()
"""
_READER = """
import sys, time
import duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
print("held", flush=True)
time.sleep(5)
"""


def test_two_jobs_of_one_file_and_a_reader_do_not_hinder_each_other(root: Path) -> None:
    """Each takes its snapshot beside the reader, and waits to publish; both are released, and nothing is mixed."""
    with duckdb.connect(str(root / "w.duckdb")) as connection:
        connection.execute(
            "CREATE TABLE crm.towns AS SELECT ['Ede', 'Goes'][1 + i % 2] AS town FROM range(70) t(i)"
        )
    reader = subprocess.Popen([sys.executable, "-c", _READER, root / "w.duckdb"], stdout=subprocess.PIPE)
    assert reader.stdout is not None and reader.stdout.readline() == b"held\n"
    jobs = [
        subprocess.Popen([sys.executable, "-c", _JOB, root, table], stderr=subprocess.PIPE, text=True)
        for table in ("people", "towns")
    ]
    said = [job.communicate(timeout=500)[1][-3000:] for job in jobs]
    reader.wait()
    reader.stdout.close()
    found = {it.target: it for it in releases(Warehouse(root / "w.duckdb"))}

    assert [job.returncode for job in jobs] == [0, 0], said
    assert {it: found[it].row_count for it in found} == {"synthetic.people": 50, "synthetic.towns": 70}
    assert all(verify(Warehouse(root / "w.duckdb"), it) for it in found)


@pytest.mark.parametrize(
    ("made", "fact"),
    [
        ("TABLE synthetic.people AS SELECT 1", "a table that tabdar did not make"),
        ("VIEW synthetic.people AS SELECT 1", "a view that tabdar did not make"),
    ],
)
def test_a_target_that_is_not_ours_is_refused_before_the_snapshot(root: Path, made: str, fact: str) -> None:
    """Not after a night of training."""
    with duckdb.connect(str(root / "w.duckdb")) as connection:
        connection.execute(f"CREATE SCHEMA synthetic; CREATE {made}")
    failure = failure_of(take_snapshot(root))

    assert (
        f"target 'synthetic.people' must be free for the view that serves releases, however {fact}" in failure
    )
    assert not [*root.glob("run/*/snapshots")]


def test_partitions_beside_the_whole_are_refused_before_the_snapshot(root: Path) -> None:
    """The view would serve rows twice."""
    publish(Warehouse(root / "w.duckdb"), "synthetic.people", pa.table({"a": [1]}), {"a": "BIGINT"}, {})
    failure = failure_of(take_snapshot(root, partitions={"column": "a", "values": [0, 1]}))

    assert "must be of partitions of a, however synthetic.people r0001 is served, of the whole" in failure
    assert not [*root.glob("run/*/snapshots")]


@pytest.mark.parametrize("place", ["w.duckdb", "."])
def test_a_warehouse_that_is_read_only_is_refused_before_the_snapshot(place: str) -> None:
    """The file, or the folder of its log; what lies there stays as it was."""
    with TemporaryDirectory() as folder, unprivileged(Path(folder)) as root:
        (root / "run").mkdir()
        with duckdb.connect(str(root / "w.duckdb")) as connection:
            connection.execute(
                "CREATE SCHEMA crm; CREATE TABLE crm.people AS SELECT i % 3 AS a FROM range(50) t(i)"
            )
        before = (root / "w.duckdb").read_bytes()
        (root / place).chmod(0o555)
        failure = failure_of(take_snapshot(root))
        root.chmod(0o755)

        assert (
            f"must be writable to publish releases in it, however {str(root / place)!r} is read-only"
            in failure
        )
        assert (root / "w.duckdb").read_bytes() == before
        assert not [*root.glob("run/*/snapshots")]


@contextmanager
def unprivileged(root: Path) -> Iterator[Path]:
    """A folder of a user who, other than root, must keep to permissions."""
    if os.geteuid() != 0:
        yield root
        return
    nobody = getpwnam("nobody").pw_uid
    os.chown(root, nobody, -1)
    os.seteuid(nobody)
    try:
        yield root
    finally:
        os.seteuid(0)


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """What the step that failed says."""
    failure = next(event for event in result.all_events if event.is_step_failure)
    return str(failure.event_specific_data.error)  # type: ignore[union-attr]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel refuses what lies beyond, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_stops_the_job_with_the_place_and_the_next_step(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the snapshot, or at the model; what was there stays, nothing half is left, and with space the job finishes."""
    monkeypatch.setattr(guard, "AGAIN_S", 0.01)
    before = (root / "w.duckdb").read_bytes()
    job = definitions(root, train={"epochs": 1}, policy=LENIENT).resolve_job_def("refresh_synthetic_people")
    for size, step in ((100, "snapshot"), (100_000, "model")):
        with files_of_at_most(size):
            result = job.execute_in_process(raise_on_error=False)
        said = failure_of(result)
        assert f"synthetic__people__{step}" in {it.step_key for it in result.all_events if it.is_step_failure}
        assert "Free space" in said
        assert str(root / "run") in said
        assert (root / "w.duckdb").read_bytes() == before
        assert [it.name for it in root.rglob(".*")] == []

    assert job.execute_in_process().success
    assert verify(Warehouse(root / "w.duckdb"), "synthetic.people")
