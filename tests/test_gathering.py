"""Many rows lie in a file that the system may drop from memory, and are the same rows."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabdar_pipeline.warehouse import gathering
from tabdar_pipeline.warehouse.files import read_parquet, read_table
from tabdar_pipeline.warehouse.gathering import gathered

ROWS = pa.table(
    {
        "number": np.arange(20_000) / 3,
        "text": [None if i % 11 == 0 else f"text {i % 700}" for i in range(20_000)],
        "level": pa.array([f"level {i % 7}" for i in range(20_000)]).dictionary_encode(),
    }
)


@pytest.fixture(autouse=True)
def none_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "IN_MEMORY", 0)


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_many_rows_lie_in_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = pa.total_allocated_bytes()
    rows = gathered(ROWS.to_batches(1000), ROWS.schema)
    assert rows.equals(ROWS)
    assert pa.total_allocated_bytes() - before < ROWS.nbytes / 10
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("size", [0, 300, 5_000, 100_000, *range(300_000, 320_000, 1009)])
def test_what_the_disk_has_no_room_for_stays_in_memory(size: int) -> None:
    with room(size):
        rows = gathered(ROWS.to_batches(1000), ROWS.schema)
    rows.validate(full=True)
    assert rows.equals(ROWS)


def test_no_rows_are_a_table() -> None:
    assert gathered([], ROWS.schema).equals(ROWS.slice(0, 0))


def test_every_kind_of_source_is_read_so(tmp_path: Path) -> None:
    plain = ROWS.set_column(2, "level", ROWS["level"].cast(pa.string()))
    pq.write_table(plain, tmp_path / "t.parquet", row_group_size=3000)
    assert read_table(tmp_path / "t.parquet")[0].equals(plain)
    assert read_parquet(tmp_path / "t.parquet", ["level", "number"]).equals(plain.select(["level", "number"]))
    with duckdb.connect(str(tmp_path / "w.duckdb")) as db:
        db.execute("CREATE TABLE t AS SELECT * FROM read_parquet(?)", [str(tmp_path / "t.parquet")])
    rows, types = read_table(tmp_path / "w.duckdb", "t")
    assert types == {"number": "DOUBLE", "text": "VARCHAR", "level": "VARCHAR"}
    order = [(name, "ascending") for name in rows.column_names]
    assert rows.cast(plain.schema).sort_by(order).equals(plain.sort_by(order))
