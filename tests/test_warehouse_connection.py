"""Connections: opened for seconds, always closed, patient with locks and honest about them."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from tabdar_pipeline.errors import SourceError, StorageError, UsageError, WarehouseLocked
from tabdar_pipeline.warehouse.duckdb import Connection, Warehouse

_HOLD = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
print("held", flush=True)
time.sleep(float(sys.argv[3]))
connection.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with one table of one row."""
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE facts AS SELECT 1 AS number")
    return path


@contextmanager
def held(path: Path, mode: str, seconds: float) -> Iterator[int]:
    """Another process holds the file; its pid."""
    command = [sys.executable, "-c", _HOLD, str(path), mode, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process.pid
        finally:
            process.kill()


def test_a_missing_database_is_refused_and_not_made(tmp_path: Path) -> None:
    """A typing error in a path must not leave an empty database there."""
    path = tmp_path / "nowhere.duckdb"
    with pytest.raises(SourceError, match="does not exist"), Warehouse(path).connect():
        pass
    assert not path.exists()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """With what DuckDB says of it, and the next step."""
    path = tmp_path / "notes.duckdb"
    path.write_text("not a database, but long enough to be read as if it were one" * 100)
    with pytest.raises(StorageError, match=r"notes\.duckdb.*not a valid DuckDB"), Warehouse(path).connect():
        pass


def test_a_lock_tells_who_holds_the_file_and_how_long_we_waited(path: Path) -> None:
    """The process id is there, so that a person can act."""
    with held(path, "write", 30) as pid:
        start = time.monotonic()
        with (
            pytest.raises(WarehouseLocked, match=rf"process {pid}\) holds it; waited \d"),
            Warehouse(path, wait_s=0.4).connect(read_only=True),
        ):
            pass
        assert time.monotonic() - start < 5


def test_a_lock_that_ends_in_time_is_waited_for(path: Path) -> None:
    """The job goes on as if nothing had been."""
    with held(path, "write", 0.3), Warehouse(path, wait_s=20).connect() as connection:
        assert connection.execute("SELECT number FROM facts").fetchall() == [(1,)]


def test_readers_share_the_file(path: Path) -> None:
    """Another process that reads does not keep us from reading, only from writing."""
    with held(path, "read", 30):
        with Warehouse(path, wait_s=0.2).connect(read_only=True) as connection:
            assert connection.execute("SELECT number FROM facts").fetchall() == [(1,)]
        with pytest.raises(WarehouseLocked), Warehouse(path, wait_s=0.2).connect():
            pass


def test_a_connection_of_this_process_in_another_mode_is_a_lock_too(path: Path) -> None:
    """DuckDB opens a file in one mode a process."""
    warehouse = Warehouse(path, wait_s=0.2)
    with (
        warehouse.connect(),
        pytest.raises(WarehouseLocked, match=f"this process \\({os.getpid()}\\)"),
        warehouse.connect(read_only=True),
    ):
        pass


def test_the_file_is_free_after_an_error(path: Path) -> None:
    """Whatever happened inside."""
    with pytest.raises(ZeroDivisionError), Warehouse(path).connect():
        raise ZeroDivisionError
    with held(path, "write", 0):
        pass


def test_a_transaction_is_undone_by_any_exception(path: Path) -> None:
    """^C among them."""

    def interrupted(connection: Connection) -> None:
        connection.execute("DELETE FROM facts")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Warehouse(path).transact(interrupted)
    with Warehouse(path).connect(read_only=True) as connection:
        assert connection.execute("SELECT number FROM facts").fetchall() == [(1,)]


def test_writers_of_one_process_that_conflict_take_turns(path: Path) -> None:
    """The loser runs again; no update is lost."""
    warehouse, together = Warehouse(path), threading.Barrier(4)

    def add(connection: Connection) -> None:
        ((number,),) = connection.execute("SELECT number FROM facts").fetchall()
        time.sleep(0.01)
        connection.execute("UPDATE facts SET number = ?", [number + 1])

    def work() -> None:
        together.wait()
        warehouse.transact(add)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with warehouse.connect(read_only=True) as connection:
        assert connection.execute("SELECT number FROM facts").fetchall() == [(5,)]


_NOT_ROOT = """
import os, sys
from pathlib import Path
from tabdar_pipeline.errors import StorageError
from tabdar_pipeline.warehouse.duckdb import Warehouse

if os.geteuid() == 0:
    os.seteuid(65534)  # root writes to what is read-only
try:
    with Warehouse(Path(sys.argv[1])).connect():
        pass
except StorageError as error:
    print(error)
"""


def test_a_read_only_file_is_named_with_the_next_step(path: Path) -> None:
    """Permissions are for a person to correct."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        sealed = Path(shutil.copy(path, folder))
        sealed.chmod(0o444)
        command = [sys.executable, "-c", _NOT_ROOT, str(sealed)]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "correct permissions" in told.stdout, told.stderr
        assert str(sealed) in told.stdout


@pytest.mark.parametrize("wait_s", [-1.0, float("nan")])
def test_a_wait_must_be_a_time(path: Path, wait_s: float) -> None:
    """Refused where it is set."""
    with pytest.raises(UsageError, match="wait_s"):
        Warehouse(path, wait_s=wait_s)
