"""A run that a person cancels: no process, no lock and nothing half is left, and the next run finishes."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
import yaml
from conftest import LENIENT

from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import releases, verify

ROOT = Path(__file__).parents[1]
PATIENCE_S = 120
TARGET = "synthetic.people"
JOB = "refresh_synthetic_people"
LOCATION = """
from pathlib import Path
import yaml
from tabdar_pipeline.components.synthetic_table import SyntheticTable
root = Path(__file__).parent
defs = SyntheticTable.from_attributes_dict(attributes=yaml.safe_load((root / "people.yaml").read_text())).definitions(root)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A code location of one table, and the home of its Dagster instance."""
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.execute(
            "CREATE SCHEMA crm; CREATE TABLE crm.people AS SELECT i % 3 AS a, i * 7 % 50 AS b FROM range(300) t(i)"
        )
    (tmp_path / "location.py").write_text(LOCATION)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return tmp_path


def start(project: Path, **attributes: Any) -> "subprocess.Popen[str]":
    """A run of the job, in a process as Dagster starts it, with a session of its own."""
    settings = {
        "source": {"database": "w.duckdb", "table": "crm.people"},
        "policy": LENIENT,
        "folder": "copies",
    }
    (project / "people.yaml").write_text(yaml.safe_dump(settings | attributes))
    command = [
        str(Path(sys.executable).with_name("dagster")),
        "job",
        "execute",
        "-f",
        "location.py",
        "-j",
        JOB,
    ]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        command,
        cwd=project,
        env=os.environ | {"DAGSTER_HOME": str(project / "home"), "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def cancel(project: Path, run: "subprocess.Popen[str]", said: str) -> list[str]:
    """Cancel a run once it says so, as Dagster's launchers do; the processes that outlive it."""
    assert run.stderr is not None
    heard = []
    for line in run.stderr:
        heard.append(line)
        if said in line:
            break
    else:
        raise AssertionError("".join(heard)[-3000:])
    with dg.DagsterInstance.from_config(str(project / "home")) as instance:
        instance.report_run_canceling(instance.get_runs(limit=1)[0])
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=PATIENCE_S)
        assert instance.get_runs(limit=1)[0].status is dg.DagsterRunStatus.CANCELED
    return living(run.pid)


def living(session: int) -> list[str]:
    """The processes of a session, by what they run."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            facts = (path / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        if int(facts[3]) == session:
            found.append((path / "cmdline").read_text())
    return found


def is_untouched(project: Path) -> bool:
    """Whether the warehouse can be written to, and nothing was published."""
    with duckdb.connect(str(project / "w.duckdb")) as connection:
        connection.execute("CREATE TABLE free AS SELECT 1; DROP TABLE free")
        names = connection.execute("SELECT table_schema || '.' || table_name FROM information_schema.tables")
        return names.fetchall() == [("crm.people",)] and not (project / "copies").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are read from /proc")
def test_a_run_that_is_cancelled_in_training_or_sampling_leaves_nothing_and_the_next_finishes(
    project: Path,
) -> None:
    """What training had reached is kept; a candidate that is half drawn is none."""
    home = project / ".tabdar" / TARGET
    training, many = {"epochs": 20}, {"rows": 2_000_000}

    assert cancel(project, start(project, train=training), "of the budget") == []
    assert is_untouched(project)
    assert (home / "training" / "training.json").is_file()

    assert cancel(project, start(project, train=training, sample=many), "of 2,000,000 rows") == []
    assert is_untouched(project)
    assert not any((home / "training").iterdir())
    assert not (home / "candidate.parquet").exists()
    assert not list(home.glob(".*"))

    run = start(project, train={"epochs": 1})
    said = run.communicate(timeout=PATIENCE_S)[1]
    assert run.returncode == 0, said[-3000:]
    assert living(run.pid) == []
    assert [it.row_count for it in releases(Warehouse(project / "w.duckdb"), TARGET)] == [300]
    assert verify(Warehouse(project / "w.duckdb"), TARGET)
