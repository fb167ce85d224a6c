"""Retiring: rows and copies go, records stay, and what is served is never touched."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tabdar_pipeline.errors import SourceError, UsageError
from tabdar_pipeline.warehouse import retention
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import Companion, find, publish, releases, rollback, verify
from tabdar_pipeline.warehouse.retention import retain, retire

TARGET = "synthetic.people"
TYPES = {"id": "BIGINT"}


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """Four releases with companions and copies; the newest is served."""
    duckdb.connect(str(tmp_path / "w.duckdb")).close()
    it = Warehouse(tmp_path / "w.duckdb", wait_s=5)
    for n in range(1, 5):
        rows = pa.table({"id": range(n)})
        flags = {"flags": Companion(rows, TYPES)}
        publish(it, TARGET, rows, TYPES, {"n": n}, tmp_path / "copies", companions=flags)
    return it


def tables(warehouse: Warehouse) -> set[str]:
    with warehouse.connect(read_only=True) as connection:
        found = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'synthetic'"
        return {name for (name,) in connection.execute(found).fetchall()}


def numbers(found: list[Any]) -> list[int]:
    return [release.number for release in found]


def test_a_retired_release_has_a_record_but_no_rows(warehouse: Warehouse, tmp_path: Path) -> None:
    """Neither in the warehouse nor in the folder; its number is never used again."""
    retired = retire(warehouse, TARGET, 2)
    assert retired.retired is not None
    assert retired.manifest["n"] == 2
    assert tables(warehouse) == {
        *("people", "people__flags"),
        *(f"people__r000{n}{end}" for n in (1, 3, 4) for end in ("", "__flags")),
    }
    assert sorted(path.name for path in (tmp_path / "copies").glob("*/*")) == ["r0001", "r0003", "r0004"]
    assert publish(warehouse, TARGET, pa.table({"id": [1]}), TYPES, {}).number == 5


def test_the_served_release_cannot_be_retired(warehouse: Warehouse) -> None:
    """It is refused, with what to do first."""
    before = tables(warehouse)
    with pytest.raises(SourceError, match=r"people r0004.*rollback"):
        retire(warehouse, TARGET, 4)
    assert tables(warehouse) == before
    assert verify(warehouse, TARGET)


def test_what_is_retired_can_be_neither_served_nor_verified(warehouse: Warehouse) -> None:
    """And to retire it again changes nothing."""
    first = retire(warehouse, TARGET, 1)
    for action in (rollback, verify):
        with pytest.raises(SourceError, match="was retired"):
            action(warehouse, TARGET, 1)
    assert retire(warehouse, TARGET, 1) == first
    assert find(warehouse, TARGET).number == 4


def test_the_newest_are_kept_and_the_served_one_always(warehouse: Warehouse) -> None:
    """An old release that is served again outlives newer ones."""
    rollback(warehouse, TARGET, 1)
    assert numbers(retain(warehouse, TARGET, 2)) == [2]
    assert numbers([it for it in releases(warehouse, TARGET) if not it.retired]) == [4, 3, 1]
    assert find(warehouse, TARGET).number == 1
    assert retain(warehouse, TARGET, 2) == []
    with pytest.raises(UsageError, match="1 or more"):
        retain(warehouse, TARGET, 0)


def test_a_copy_that_a_crash_left_goes_with_the_next_retirement(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction is the truth; the folder follows."""
    monkeypatch.setattr(retention, "_remove_copies", lambda _: None)
    retire(warehouse, TARGET, 1)
    monkeypatch.undo()
    copies = tmp_path / "copies"
    assert len(list(copies.glob("*/*"))) == 4
    retain(warehouse, TARGET, 3)
    assert sorted(path.name for path in copies.glob("*/*")) == ["r0002", "r0003", "r0004"]
