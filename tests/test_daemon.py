"""Nobody is watching: Dagster's daemon and webserver run for real, and a person looks in afterwards.

A tick of the schedule makes a release, the next tick skips, the sensor makes another after the source changed, and
a gate that fails keeps it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import chromium
import dagster as dg
import duckdb
import pytest
import yaml
from conftest import LENIENT

from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import releases

ROOT = Path(__file__).parents[1]
PATIENCE_S = 240  # for what takes seconds on a machine that has nothing else to do
TARGET = "synthetic.people"
SETTINGS = {
    "source": {"database": "w.duckdb", "table": "crm.people"},
    "train": {"epochs": 1},
    "policy": LENIENT,
    "schedule": "* * * * *",
    "watch": {"by": "rows", "every": 10},
}
LOCATION = """
from pathlib import Path
import dagster as dg, yaml
from tabdar_pipeline.components.synthetic_table import SyntheticTable
root = Path(__file__).parent
attributes = yaml.safe_load((root / "people.yaml").read_text())
defs = SyntheticTable.from_attributes_dict(attributes=attributes).definitions(root)
"""

pytestmark = chromium.needed


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A code location of one table, and the home of its Dagster instance."""
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.execute("CREATE SCHEMA crm; CREATE TABLE crm.people (town VARCHAR, age INT, spend DOUBLE)")
    add_rows(tmp_path, 300)
    (tmp_path / "people.yaml").write_text(yaml.safe_dump(SETTINGS))
    (tmp_path / "location.py").write_text(LOCATION)
    place = {"relative_path": "location.py", "location_name": "people"}
    (tmp_path / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [{"python_file": place}]}))
    (tmp_path / "home").mkdir()
    shutil.copy(ROOT / "dagster.yaml", tmp_path / "home")
    return tmp_path


def add_rows(project: Path, rows: int) -> None:
    """More people of two towns, in one of which they spend ten times as much: one epoch does not learn that."""
    Warehouse(project / "w.duckdb", PATIENCE_S).transact(
        lambda it: it.execute(
            "INSERT INTO crm.people SELECT ['Ede', 'Goes'][1 + i % 2], 20 + i * 7 % 15, "
            "(1 + 9 * (i % 2)) * (10 + i * 7 % 15 + i * 0.618 % 1) FROM range(?) t(i)",
            [rows],
        )
    )


@contextmanager
def running(project: Path, *words: str) -> Iterator[None]:
    """One of Dagster's programs, with all that it starts, until the test is done; its log is shown where it fails."""
    with (project / f"{words[0]}.log").open("w") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name(words[0])), *words[1:], "-w", "workspace.yaml"],
            **place(project),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    except BaseException:
        print((project / f"{words[0]}.log").read_text()[-4000:])
        raise
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # itself, where it did not end, and runs that it left
        process.wait()


def place(project: Path) -> dict[str, Any]:
    """Where and with what environment Dagster's programs run."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {"cwd": project, "env": os.environ | {"DAGSTER_HOME": str(project / "home"), "PYTHONPATH": path}}


def switch(project: Path, kind: str, verb: str, name: str) -> None:
    """Start or stop a schedule or sensor, as a person does on the command line."""
    command = [str(Path(sys.executable).with_name("dagster")), kind, verb, name, "-w", "workspace.yaml"]
    done = subprocess.run(
        command, **place(project), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def until(what: str, condition: Callable[[], Any]) -> Any:
    """What the condition gives, once it gives anything."""
    started = time.monotonic()
    while time.monotonic() - started < PATIENCE_S:
        found = condition()
        if found:
            return found
        time.sleep(1)
    raise AssertionError(f"not within {PATIENCE_S} s: {what}")


def served(project: Path) -> int | None:
    """The number of the release that is served."""
    found = releases(Warehouse(project / "w.duckdb", PATIENCE_S), TARGET)
    return next((it.number for it in found if it.served), None)


def ended(instance: dg.DagsterInstance, by: str, status: dg.DagsterRunStatus) -> list[dg.DagsterRun]:
    """The runs that a schedule or sensor requested and that ended so, the newest first."""
    return list(instance.get_runs(dg.RunsFilter(tags={by: NAMES[by]}, statuses=[status])))


NAMES = {
    "dagster/schedule_name": "refresh_synthetic_people_schedule",
    "dagster/sensor_name": "changes_of_synthetic_people",
}


def skipped(instance: dg.DagsterInstance) -> str | None:
    """Why the last tick of the schedule requested nothing; None where none was skipped."""
    states = instance.all_instigator_state()
    ticks = [
        tick
        for it in states
        if it.instigator_name == NAMES["dagster/schedule_name"]
        for tick in instance.get_ticks(it.instigator_origin_id, it.selector_id)
    ]
    return next((str(tick.skip_reason) for tick in ticks if tick.skip_reason), None)


def test_releases_are_made_and_kept_while_nobody_is_watching(project: Path, browser: Any) -> None:
    """By the daemon; seen in the UI."""
    port = chromium.free_port()
    with ExitStack() as stack:
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(project / "home")))
        switch(project, "schedule", "start", NAMES["dagster/schedule_name"])
        stack.enter_context(running(project, "dagster-daemon", "run"))
        stack.enter_context(running(project, "dagster-webserver", "-h", "127.0.0.1", "-p", str(port)))
        chromium.wait_for(f"http://127.0.0.1:{port}/server_info")
        ui = f"http://127.0.0.1:{port}"

        a_tick_makes_a_release_and_the_next_one_skips(project, instance, browser, ui)
        the_sensor_makes_the_next(project, instance, browser, ui)
        a_failing_gate_keeps_it(project, instance, browser, ui)


def a_tick_makes_a_release_and_the_next_one_skips(
    project: Path, instance: dg.DagsterInstance, browser: Any, ui: str
) -> None:
    """And the UI says why."""
    until("a release by the schedule", lambda: served(project) == 1)
    until("its run", lambda: ended(instance, "dagster/schedule_name", dg.DagsterRunStatus.SUCCESS))
    reason = until("a tick that is skipped", lambda: skipped(instance))
    switch(project, "schedule", "stop", NAMES["dagster/schedule_name"])

    assert "Nothing new in crm.people: its rows is 300 as before" in reason
    browser.get(f"{ui}/automation")
    chromium.see(browser, NAMES["dagster/schedule_name"])
    chromium.no_errors(browser)


def the_sensor_makes_the_next(project: Path, instance: dg.DagsterInstance, browser: Any, ui: str) -> None:
    """After the source has grown."""
    add_rows(project, 200)
    switch(project, "sensor", "start", NAMES["dagster/sensor_name"])
    until("a release by the sensor", lambda: served(project) == 2)
    until("its run", lambda: ended(instance, "dagster/sensor_name", dg.DagsterRunStatus.SUCCESS))

    browser.get(f"{ui}/assets/synthetic/people?view=events")
    chromium.see(browser, "r0002")
    chromium.no_errors(browser)


def a_failing_gate_keeps_it(project: Path, instance: dg.DagsterInstance, browser: Any, ui: str) -> None:
    """A person has tightened the policy, and the source grows again."""
    strict = SETTINGS | {"policy": LENIENT | {"shape_error": 0, "trend_error": 0, "c2st_boosted": 0}}
    (project / "people.yaml").write_text(yaml.safe_dump(strict))
    add_rows(project, 400)
    runs = until("a refusal", lambda: ended(instance, "dagster/sensor_name", dg.DagsterRunStatus.FAILURE))

    assert served(project) == 2
    browser.get(f"{ui}/runs/{runs[0].run_id}")
    chromium.see(browser, "Failure")
    browser.get(f"{ui}/assets/synthetic/people/report?view=checks&checkDetail=release_policy")
    chromium.see(browser, "release_policy")
    browser.get(f"{ui}/assets/synthetic/people?view=events")
    chromium.see(browser, "r0002")
    chromium.no_errors(browser)
