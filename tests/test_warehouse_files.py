"""Files as tables: parquet, csv and databases, in any folder."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabdar_pipeline.errors import SourceError, TabdarError, UsageError
from tabdar_pipeline.warehouse.files import parquet_rows, read_table

TABLE = pa.table({"a": [1, 2, None], "b": ["x", "it's", "z"]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name is a glob pattern and holds a quote."""
    folder = tmp_path / "it's [1]* {a,b} x=1"
    folder.mkdir()
    return folder


def test_a_parquet_file_is_read_with_its_own_types(folder: Path) -> None:
    """Whatever its folder is called."""
    pq.write_table(TABLE, folder / "t.parquet")
    assert read_table(folder / "t.parquet") == (TABLE, {})


def test_a_csv_file_is_read_with_inferred_types(folder: Path) -> None:
    """From all rows, not from the first ones."""
    lines = ["a,b", *(f"{i},2020-01-02" for i in range(30_000)), "1.5,2020-01-02"]
    (folder / "t.csv").write_text("\n".join(lines))
    table, types = read_table(folder / "t.csv")
    assert table.num_rows == 30_001
    assert types == {"a": "DOUBLE", "b": "DATE"}


def test_a_table_of_a_database_is_read_with_its_sql_types(folder: Path) -> None:
    """ENUM included."""
    with duckdb.connect(str(folder / "w.duckdb")) as connection:
        connection.execute("CREATE TABLE t (e ENUM('x', 'y')); INSERT INTO t VALUES ('y')")
    table, types = read_table(folder / "w.duckdb", "t")
    assert table["e"].to_pylist() == ["y"]
    assert types == {"e": "ENUM('x', 'y')"}


def test_exactly_one_file_is_read_where_the_path_is_a_pattern(folder: Path) -> None:
    """Its neighbours are not."""
    pq.write_table(TABLE, folder / "t?.parquet")
    pq.write_table(TABLE, folder / "t1.parquet")
    query = f"SELECT count(*) FROM {parquet_rows(folder / 't?.parquet')}"
    with duckdb.connect() as connection:
        assert connection.execute(query).fetchall() == [(3,)]


@pytest.mark.parametrize(
    ("file", "table", "kind", "says"),
    [
        ("none.parquet", None, SourceError, "does not"),
        ("none.csv", None, SourceError, "does not"),
        ("none.duckdb", "t", SourceError, "does not exist"),
        ("none.duckdb", None, UsageError, "--table"),
        ("none?.duckdb", "t", UsageError, "must not hold"),
        ("none.xlsx", None, UsageError, r"\.parquet, \.csv or \.duckdb"),
        ("none.parquet", "t", UsageError, "one table"),
        ("broken.parquet", None, SourceError, "must be parquet"),
    ],
)
def test_what_is_no_table_is_refused(
    folder: Path, file: str, table: str | None, kind: type[TabdarError], says: str
) -> None:
    """Naming the file and the way out."""
    (folder / "broken.parquet").write_text("PAR1 but no more")
    with pytest.raises(kind, match=says):
        read_table(folder / file, table)
