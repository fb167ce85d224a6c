"""Whatever is spoilt of a release by hand, verify says so; what was published as earlier versions did stays valid."""

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.promotion import promote
from tabdar_pipeline.warehouse.publish import Companion, find, publish, rollback, verify
from tabdar_pipeline.warehouse.releases import manifest_text, text_hash

TARGET = "synthetic.people"
TYPES = {"id": "BIGINT", "age": "BIGINT"}
ROWS = pa.table({"id": [1, 2, 3], "age": [30, 40, 50]})
FLAGS = Companion(
    pa.table({"id": [1, 2, 3], "age": [True, False, False]}), {"id": "BIGINT", "age": "BOOLEAN"}
)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """Two releases with flags beside them and copies; the newer is served, the older promoted."""
    duckdb.connect(str(tmp_path / "w.duckdb")).close()
    it = Warehouse(tmp_path / "w.duckdb", wait_s=5)
    for rows in (ROWS.slice(0, 2), ROWS):
        publish(it, TARGET, rows, TYPES, {}, tmp_path / "copies", companions={"imputed": FLAGS})
    promote(it, TARGET, 1, "Ada", "good")
    return it


def execute(warehouse: Warehouse, *statements: str) -> None:
    with duckdb.connect(str(warehouse.path)) as connection:
        for statement in statements:
            connection.execute(statement)


SPOILT = {
    "a cell": ("UPDATE synthetic.people__r0002 SET age = 1 WHERE id = 1", "other rows"),
    "a column's name": ("ALTER TABLE synthetic.people__r0002 RENAME age TO salary", "other columns"),
    "columns that change places": (
        (
            "DROP VIEW synthetic.people; ALTER TABLE synthetic.people__r0002 RENAME age TO x; "
            "ALTER TABLE synthetic.people__r0002 RENAME id TO age; ALTER TABLE synthetic.people__r0002 RENAME x TO id; "
            "CREATE VIEW synthetic.people AS FROM synthetic.people__r0002"
        ),
        "other columns",
    ),
    "a type": ("ALTER TABLE synthetic.people__r0002 ALTER age TYPE VARCHAR", "other columns"),
    "the view, over other rows": (
        "CREATE OR REPLACE VIEW synthetic.people AS SELECT 7 AS id, 8 AS age",
        "view 'synthetic.people' does not serve the rows of synthetic.people__r0002",
    ),
    "the view, over fewer columns": (
        "CREATE OR REPLACE VIEW synthetic.people AS SELECT id FROM synthetic.people__r0002",
        "view 'synthetic.people' does not serve",
    ),
    "the view, dropped": ("DROP VIEW synthetic.people", "view 'synthetic.people' cannot be read"),
    "the view of flags": (
        "CREATE OR REPLACE VIEW synthetic.people__imputed AS FROM synthetic.people__r0001",
        "view 'synthetic.people__imputed' does not serve",
    ),
    "the flags": ("UPDATE synthetic.people__r0002__imputed SET age = NOT age", "__imputed' has other rows"),
    "the flags, dropped": ("DROP TABLE synthetic.people__r0002__imputed", "__imputed' cannot be read"),
    "the count in the record": ("UPDATE tabdar.releases SET row_count = 99", "says rows 99"),
    "the time in the record": ("UPDATE tabdar.releases SET created = '2001-01-01'", "says created '2001"),
    "the hash in the record": ("UPDATE tabdar.releases SET rows_hash = 'x'", "says rows_hash 'x'"),
    "the partition in the record": ("UPDATE tabdar.releases SET partition = 'a'", "says partition 'a'"),
    "the manifest": ('UPDATE tabdar.releases SET manifest = \'{"rows_hash": "x"}\'', "the manifest of"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_is_spoilt_in_the_warehouse_is_told(warehouse: Warehouse, what: str) -> None:
    """By what it is."""
    statements, said = SPOILT[what]
    assert verify(warehouse, TARGET, 2)
    execute(warehouse, *statements.split("; "))
    found = verify(warehouse, TARGET, 2)
    assert not found
    assert said in "; ".join(found.problems)


def test_the_view_of_approved_rows_is_looked_at_with_the_release_that_it_serves(warehouse: Warehouse) -> None:
    """Of the other release there is no problem."""
    execute(warehouse, "CREATE OR REPLACE VIEW synthetic.people__promoted AS FROM synthetic.people__r0002")
    assert "people__promoted" in verify(warehouse, TARGET, 1).problems[0]
    assert verify(warehouse, TARGET, 2)


def test_a_view_that_was_spoilt_is_whole_again_after_a_rollback(warehouse: Warehouse) -> None:
    """To the release that is served."""
    execute(warehouse, "DROP VIEW synthetic.people")
    rollback(warehouse, TARGET, 2)
    assert verify(warehouse, TARGET)


def _renamed(copy: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(copy, partitioning=None).rename_columns(["id", "salary"]), copy)


COPIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "its manifest": (lambda it: (it.parent / "manifest.json").write_text("{}"), "manifest beside copy"),
    "its manifest, removed": (lambda it: (it.parent / "manifest.json").unlink(), "manifest beside copy"),
    "its rows": (lambda it: it.write_bytes(b"PAR1"), "cannot be read"),
    "a column's name": (_renamed, "has other columns than the table"),
    "its file, removed": (lambda it: it.unlink(), "is not there"),
}


@pytest.mark.parametrize("what", COPIES)
def test_what_is_spoilt_of_a_copy_is_told(warehouse: Warehouse, what: str) -> None:
    """The warehouse is as it was, and the copy is not."""
    spoil, said = COPIES[what]
    copy = find(warehouse, TARGET).copy
    assert copy is not None
    spoil(copy)
    (problem,) = verify(warehouse, TARGET).problems
    assert said in problem


def test_a_manifest_of_before_columns_were_recorded_is_still_valid(warehouse: Warehouse) -> None:
    """It says nothing of names, types and flags, and its rows count."""
    release = find(warehouse, TARGET)
    text = manifest_text({k: v for k, v in release.manifest.items() if k not in {"columns", "beside"}})
    assert json.loads(text)["companions"] == ["imputed"]
    assert release.copy is not None
    (release.copy.parent / "manifest.json").write_text(text)
    with duckdb.connect(str(warehouse.path)) as connection:
        stamp = "UPDATE tabdar.releases SET manifest = ?, manifest_hash = ? WHERE number = 2"
        connection.execute(stamp, [text, text_hash(text)])
    assert verify(warehouse, TARGET)
    execute(warehouse, "UPDATE synthetic.people__r0002 SET age = 1 WHERE id = 1")
    assert not verify(warehouse, TARGET)
