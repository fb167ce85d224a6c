"""One DuckDB file, held for seconds at a time."""

import contextlib
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from tabdar_pipeline.errors import SourceError, StorageError, WarehouseLocked

_HOLDER = re.compile(r"lock is held in (?P<command>.+?) \(PID (?P<pid>\d+)\)")


@dataclass(frozen=True, slots=True)
class Warehouse:
    """A database file, and how long to wait while another process holds it."""

    path: Path
    wait_s: float = 30.0

    @contextlib.contextmanager
    def connect(self, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """An open connection, always closed again; refuses a database that is not there."""
        if not self.path.is_file():
            raise SourceError(
                f"a warehouse must be a DuckDB file, however {str(self.path)!r} does not exist. "
                "Correct the path, or build the database first."
            )
        connection = self._open(read_only)
        try:
            yield connection
        except duckdb.IOException as error:
            raise StorageError(
                f"{str(self.path)!r} must be writable and have space, however: {error}. "
                "Free space or change permissions; nothing was changed."
            ) from error
        finally:
            connection.close()

    def _open(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        started, pause = time.monotonic(), 0.05
        while True:
            try:
                return duckdb.connect(str(self.path), read_only=read_only)
            except (duckdb.IOException, duckdb.ConnectionException) as error:
                waited = time.monotonic() - started
                if not _is_lock(error):
                    raise StorageError(
                        f"{str(self.path)!r} must be a DuckDB database that can be opened, however: "
                        f"{error}. Check the file and its permissions."
                    ) from error
                if waited + pause > self.wait_s:
                    raise WarehouseLocked(_locked(self.path, error, waited)) from error
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
            pause = min(pause * 2, 2.0)


def _is_lock(error: Exception) -> bool:
    return "lock" in str(error) or "different configuration" in str(error)


def _locked(path: Path, error: Exception, waited: float) -> str:
    held = _HOLDER.search(str(error))
    who = f"{held['command']} (process {held['pid']})" if held else "another connection"
    return (
        f"{str(path)!r} must be free for a moment, however {who} holds it; waited {waited:.0f} s. "
        "Close that connection, or raise `wait_s`."
    )


def rows_hash(connection: Any, query: str) -> str:
    """A hash of a query's rows, whatever their order and however they are stored."""
    import hashlib

    facts = connection.execute(
        "SELECT count(*), coalesce(bit_xor(h), 0), coalesce(sum((h % 4294967296)::HUGEINT), 0) FROM "
        f"(SELECT md5_number(CAST(t AS VARCHAR)) AS h FROM ({query}) t)"
    ).fetchall()
    return hashlib.sha256(repr(facts).encode()).hexdigest()
