"""One DuckDB file: opened for seconds, always closed, its errors told in our words."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import TypeVar

import duckdb

from tabdar_pipeline.errors import SourceError, StorageError, UsageError, WarehouseLocked
from tabdar_pipeline.warehouse.names import literal

T = TypeVar("T")
Connection = duckdb.DuckDBPyConnection

_HOLDER = re.compile(r"lock is held in (?P<command>.+?) \(PID (?P<pid>\d+)\)")
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_PASSING = ("Could not set lock", "different configuration", "onflict")
_STORAGE_ERRORS = (
    duckdb.IOException,
    duckdb.FatalException,
    duckdb.OutOfMemoryException,
    duckdb.TransactionException,
)


@dataclass(frozen=True, slots=True)
class Warehouse:
    """A database file, and how many seconds to wait while another process holds it."""

    path: Path
    wait_s: float = 30.0

    def __post_init__(self) -> None:
        """Refuse a wait that is none, and a path that DuckDB reads as a path with options."""
        if "?" in str(self.path):
            raise UsageError(f"a warehouse's path must not hold '?', however: {str(self.path)!r}. Rename it.")
        if not self.wait_s >= 0:
            raise UsageError(f"wait_s must be 0 seconds or more, however: {self.wait_s}. Correct it.")

    @contextmanager
    def connect(self, *, read_only: bool = False) -> Iterator[Connection]:
        """An open connection, always closed again.

        Raises SourceError where the file is missing (none is made), WarehouseLocked where another
        process kept it longer than `wait_s`, StorageError where it cannot be read or written.
        """
        connection = _patiently(self, lambda: self._open(read_only=read_only))
        try:
            _configure(connection)
            yield connection
        except _STORAGE_ERRORS as error:
            if _passes(error):
                raise
            raise storage_error(self.path, error) from error
        finally:
            connection.close()

    def transact(self, action: Callable[[Connection], T]) -> T:
        """What `action` returns; all that it writes is written in one transaction, or none of it.

        It runs again where another connection of this process wrote the same rows first.
        """

        def attempt() -> T:
            with self.connect() as connection, transaction(connection):
                return action(connection)

        return _patiently(self, attempt)

    def _open(self, *, read_only: bool) -> Connection:
        if not self.path.is_file():
            raise SourceError(
                f"a warehouse must be a DuckDB file, however {str(self.path)!r} does not exist. "
                "Correct the path, or build the database first."
            )
        return duckdb.connect(str(self.path), read_only=read_only)


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commit at the end; roll back on any exception, ^C among them."""
    connection.execute("BEGIN TRANSACTION")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):  # where the commit itself failed, DuckDB has rolled back
            connection.execute("ROLLBACK")
        raise


@contextmanager
def in_memory(spill: Path | None = None) -> Iterator[Connection]:
    """A connection to no database, for files; what does not fit into memory spills into that folder."""
    connection = duckdb.connect(":memory:")
    try:
        _configure(connection)
        folder = (spill or Path(gettempdir())) / f".duckdb-{os.getpid()}"
        connection.execute(f"SET temp_directory = {literal(str(folder))}")
        yield connection
    finally:
        connection.close()


def storage_error(path: Path, error: BaseException) -> StorageError:
    """What a failed read or write of a file means to the caller."""
    return StorageError(
        f"{str(path)!r} must be a whole file that can be read and written, on a disk with space, "
        f"however: {fact(error)}. Free space, correct permissions or restore it; nothing was changed."
    )


def refuse_read_only(path: Path) -> None:
    """Raise StorageError where a database file, or the folder that its log is written to, is read-only.

    Asked of the system: who opens the file to see shuts out its readers.
    """
    for place in (path, path.absolute().parent):
        if place.exists() and not os.access(
            place, os.W_OK, effective_ids=os.access in os.supports_effective_ids
        ):
            raise StorageError(
                f"warehouse {str(path)!r} must be writable to publish releases in it, however {str(place)!r} is "
                "read-only. Correct its permissions, or publish in another database."
            )


def fact(error: BaseException) -> str:
    r"""What an error of DuckDB says, on one line.

    >>> fact(ValueError("Binder Error: no column x.\n\nLINE 1: x"))
    'Binder Error: no column x'
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removesuffix(".")


def _configure(connection: Connection) -> None:
    """The same text for the same time on any machine; no extension is fetched unasked."""
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET autoinstall_known_extensions = false")


def _patiently(warehouse: Warehouse, attempt: Callable[[], T]) -> T:
    started, pause = time.monotonic(), _SHORTEST_PAUSE_S
    while True:
        try:
            return attempt()
        except (duckdb.IOException, duckdb.ConnectionException, duckdb.TransactionException) as error:
            if not _passes(error):
                raise storage_error(warehouse.path, error) from error
            waited = time.monotonic() - started
            if waited + pause > warehouse.wait_s:
                raise _locked(warehouse.path, error, waited) from error
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def _passes(error: duckdb.Error) -> bool:
    """Whether to wait may help: a lock, a connection in another mode, a conflict of two writers."""
    return any(mark in str(error) for mark in _PASSING)


def _locked(path: Path, error: duckdb.Error, waited: float) -> WarehouseLocked:
    held = _HOLDER.search(str(error))
    who = f"{held['command']} (process {held['pid']})" if held else f"this process ({os.getpid()})"
    return WarehouseLocked(
        f"{str(path)!r} must be free for a moment, however {who} holds it; waited {waited:.1f} s. "
        "Close that connection, or raise `wait_s`."
    )
