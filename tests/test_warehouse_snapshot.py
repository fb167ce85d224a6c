"""Snapshots: rows as they are, in an order and with a version that their values alone decide."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabdar_pipeline.errors import SourceError, TabdarError, UsageError
from tabdar_pipeline.warehouse.catalog import describe
from tabdar_pipeline.warehouse.digest import rows_hash
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.names import identifier, literal
from tabdar_pipeline.warehouse.snapshot import Selection, data_version, snapshot

Filled = Callable[[str], Warehouse]

ODD = {
    "whole": ("HUGEINT", "170141183460469231731687303715884"),
    "natural": ("UHUGEINT", "7"),
    "span": ("INTERVAL", "1 month 2 days 00:00:03.000004"),
    "hour": ("TIME WITH TIME ZONE", "12:00:00+02"),
    "bits": ("BIT", "0101"),
    "id": ("UUID", "b73e9aa2-9976-41d6-be92-08f86255b91a"),
    "nanos": ("TIMESTAMP_NS", "2020-01-01 00:00:00.000000001"),
    "seconds": ("TIMESTAMP_S", "2020-01-01 00:00:00"),
    "zoned": ("TIMESTAMP WITH TIME ZONE", "2020-01-01 00:00:00+00"),
    "level": ("ENUM('it''s', 'b;c')", "b;c"),
    "money": ("DECIMAL(12,2)", "1.50"),
    "raw": ("BLOB", "a\\x00b"),
}


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    """A database in which some SQL has run."""

    def fill(sql: str) -> Warehouse:
        path = tmp_path / "w.duckdb"
        with duckdb.connect(str(path)) as connection:
            connection.execute(sql)
        return Warehouse(path, wait_s=1)

    return fill


PEOPLE = """
CREATE SCHEMA crm;
CREATE TABLE crm.people AS SELECT i AS id, i % 7 AS seven, 'n' || (i % 3) AS name FROM range(1000) t(i);
CREATE TABLE crm.orders AS SELECT 1 AS id;
"""


def test_a_snapshot_holds_the_rows_and_types_of_the_table(filled: Filled, tmp_path: Path) -> None:
    """All of them, and once."""
    taken = snapshot(filled(PEOPLE), "crm.people", tmp_path / "run")
    table = pq.read_table(taken.path)
    assert taken.rows == table.num_rows == 1000
    assert sorted(table["id"].to_pylist()) == list(range(1000))
    assert taken.sql_types == {"id": "BIGINT", "seven": "BIGINT", "name": "VARCHAR"}
    assert [path.name for path in taken.path.parent.iterdir()] == [f"{taken.data_version[:16]}.parquet"]


def test_the_order_of_storage_changes_neither_version_nor_file(filled: Filled, tmp_path: Path) -> None:
    """Equal data versions are equal rows in equal order, so a seed gives the same model."""
    warehouse = filled(PEOPLE + "CREATE TABLE crm.back AS FROM crm.people ORDER BY seven DESC, id DESC;")
    forth, back = (snapshot(warehouse, f"crm.{name}", tmp_path / name) for name in ("people", "back"))
    assert forth.data_version == back.data_version == data_version(warehouse, "crm.back")
    assert pq.read_table(forth.path).equals(pq.read_table(back.path))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE crm.people SET name = NULL WHERE id = 3",
        "UPDATE crm.people SET name = 'N' WHERE id = 3",
        "DELETE FROM crm.people WHERE id = 3",
        "INSERT INTO crm.people FROM crm.people WHERE id = 3",
        "ALTER TABLE crm.people ALTER seven TYPE INTEGER",
        "ALTER TABLE crm.people RENAME seven TO eight",
    ],
)
def test_every_change_changes_the_version(filled: Filled, change: str) -> None:
    """Of a value, a row, a duplicate, a type or a name."""
    warehouse = filled(PEOPLE)
    before = data_version(warehouse, "crm.people")
    with warehouse.connect() as connection:
        connection.execute(change)
    assert data_version(warehouse, "crm.people") != before


CELL = st.none() | st.text("N1:-x", max_size=3)
PAIRS = st.lists(st.tuples(CELL, CELL), max_size=3)


@settings(max_examples=60, deadline=None)
@given(PAIRS, PAIRS)
def test_hashes_are_equal_exactly_where_the_rows_are(
    one: list[tuple[str | None, str | None]], other: list[tuple[str | None, str | None]]
) -> None:
    """However much the values look like the marks between them."""
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (a VARCHAR, b VARCHAR)")
        hashes = []
        for rows in (one, other):
            connection.execute("DELETE FROM t")
            for row in rows:
                connection.execute("INSERT INTO t VALUES (?, ?)", list(row))
            hashes.append(rows_hash(connection, "SELECT * FROM t"))
    key = str
    assert (hashes[0] == hashes[1]) == (sorted(one, key=key) == sorted(other, key=key))


def test_a_smaller_cap_is_the_head_of_a_larger_one(filled: Filled, tmp_path: Path) -> None:
    """And duplicates are drawn one by one, not all or none."""
    warehouse = filled("CREATE TABLE many AS SELECT i % 2 AS a FROM range(1000) t(i)")
    few, more = (
        pq.read_table(snapshot(warehouse, "many", tmp_path, Selection(limit=n)).path) for n in (200, 400)
    )
    assert more.slice(0, 200).equals(few)
    assert 60 < sum(few["a"].to_pylist()) < 140


def test_a_selection_takes_columns_in_its_own_order_and_rows_by_its_filter(
    filled: Filled, tmp_path: Path
) -> None:
    """A filter may use what is not selected, and end in a comment."""
    part = Selection(("name", "SEVEN"), "id < 10 AND name IN ('n1', 'a;b') -- the first", 2)
    taken = snapshot(filled(PEOPLE), "CRM.People", tmp_path, part)
    assert taken.name == "crm.people"
    assert list(taken.sql_types) == ["name", "seven"]
    assert pq.read_table(taken.path)["name"].to_pylist() == ["n1", "n1"]


@pytest.mark.parametrize(
    ("name", "part", "kind", "says"),
    [
        ("crm.peple", Selection(), SourceError, r"Did you mean 'crm\.people'\?"),
        ("nowhere.people", Selection(), SourceError, "There are|Did you mean"),
        ("crm.people", Selection(("sevn",)), SourceError, "Did you mean 'seven'"),
        ("crm.orders", Selection(), SourceError, "at least 2 rows.*has 1"),
        ("crm.people", Selection(where="id < 0"), SourceError, "has 0"),
        ("crm.people", Selection(where="CAST(name AS INTEGER) = 1"), SourceError, "row by row"),
        ("crm.people", Selection(where="idd > 1"), UsageError, "idd"),
        ("crm.people", Selection(where="id"), UsageError, "true or false"),
        ("crm.people", Selection(where=""), UsageError, "one SQL expression"),
        ("crm.people", Selection(where="id > 1; DROP TABLE crm.orders"), UsageError, "one SQL expression"),
        ("crm.people", Selection(where="1=1) UNION SELECT (1"), UsageError, "one SQL expression"),
        ("crm.people", Selection(where="DROP TABLE crm.orders"), UsageError, "one SQL expression"),
        ("crm.people", Selection(where="count(*) > 1"), UsageError, "aggregates"),
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_is_written(
    filled: Filled, tmp_path: Path, name: str, part: Selection, kind: type[TabdarError], says: str
) -> None:
    """By a sentence with the next step."""
    warehouse = filled(PEOPLE)
    with pytest.raises(kind, match=says):
        snapshot(warehouse, name, tmp_path / "run", part)
    assert not list((tmp_path / "run").glob("**/*.parquet"))
    assert not list((tmp_path / "run").glob("**/.*"))
    assert describe(warehouse, "crm.orders").sql_types == {"id": "INTEGER"}


@pytest.mark.parametrize("part", [{"limit": 0}, {"columns": ()}, {"columns": ("a", "a")}])
def test_a_selection_of_nothing_is_refused_where_it_is_set(part: dict[str, object]) -> None:
    """Before a database is opened."""
    with pytest.raises(UsageError):
        Selection(**part)  # type: ignore[arg-type]


def test_a_broken_view_is_told_as_such(filled: Filled, tmp_path: Path) -> None:
    """The table below it is gone."""
    warehouse = filled("CREATE TABLE a AS SELECT 1 AS x; CREATE VIEW v AS FROM a; DROP TABLE a;")
    with pytest.raises(SourceError, match="Correct the view"):
        snapshot(warehouse, "v", tmp_path)


def test_types_that_parquet_does_not_hold_come_through_as_text_or_decimals(
    filled: Filled, tmp_path: Path
) -> None:
    """To the last digit, and with the source's type beside them."""
    columns = ", ".join(f"{identifier(name)} {kind}" for name, (kind, _) in ODD.items())
    values = ", ".join(literal(text) for _, text in ODD.values())
    warehouse = filled(f"CREATE TABLE odd ({columns}); INSERT INTO odd VALUES ({values}), ({values});")
    taken = snapshot(warehouse, "odd", tmp_path)
    assert taken.sql_types == {name: kind for name, (kind, _) in ODD.items()}
    with warehouse.connect(read_only=True) as connection:
        assert rows_hash(connection, f"FROM read_parquet({literal(str(taken.path))})") == rows_hash(
            connection, "SELECT * FROM odd"
        )
    assert pq.read_table(taken.path)["span"].to_pylist()[0] == ODD["span"][1]


def test_an_enum_stays_a_dictionary_of_all_its_levels(filled: Filled, tmp_path: Path) -> None:
    """Also of those that no row has."""
    warehouse = filled("CREATE TABLE t (e ENUM('x', 'y', 'z')); INSERT INTO t VALUES ('y'), ('y');")
    column = pq.read_table(snapshot(warehouse, "t", tmp_path).path)["e"]
    assert pa.types.is_dictionary(column.type)
    assert column.chunk(0).dictionary.to_pylist() == ["x", "y", "z"]


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12) | st.sampled_from(
    ["select", 'a"b', "a.b", "x; DROP TABLE y", "../..", "%s", "naïve ünïcode", "'", "h", "n"]
)


@settings(max_examples=25, deadline=None)
@given(NAMES, NAMES, st.lists(NAMES, min_size=1, max_size=4, unique_by=str.casefold))
def test_any_names_of_schema_table_and_columns_will_do(schema: str, name: str, columns: list[str]) -> None:
    """SQL keywords, quotes, dots, fragments of SQL and of paths."""
    relation = f"{identifier(schema)}.{identifier(name)}"
    cells = ", ".join(f"{i} AS {identifier(column)}" for i, column in enumerate(columns))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.duckdb"
        with duckdb.connect(str(path)) as connection:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}")
            connection.execute(f"CREATE TABLE {relation} AS SELECT {cells} FROM range(2)")
        warehouse = Warehouse(path)
        taken = snapshot(warehouse, relation, Path(folder), Selection(columns))
        assert pq.read_table(taken.path).to_pylist() == [{c: i for i, c in enumerate(columns)}] * 2
        assert snapshot(warehouse, taken.name, Path(folder)).data_version == taken.data_version


def test_a_description_says_types_keys_and_comments(filled: Filled) -> None:
    """Of a table, whatever case it is asked for in."""
    found = describe(
        filled(
            "CREATE TABLE t (id INT PRIMARY KEY, mail VARCHAR UNIQUE, a INT, b INT, UNIQUE (a, b));"
            "COMMENT ON TABLE t IS 'people'; COMMENT ON COLUMN t.mail IS 'where to write';"
        ),
        "T",
    )
    assert found.name == "main.t"
    assert found.keys == ("id", "mail")
    assert (found.comment, found.comments) == ("people", {"mail": "where to write"})


_FULL = """
import resource, sys
from pathlib import Path
from tabdar_pipeline.errors import StorageError
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.snapshot import snapshot

folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    snapshot(Warehouse(folder / "w.duckdb"), "crm.people", folder / "run")
except StorageError as error:
    print(error)
"""


def test_no_space_left_names_the_folder_and_leaves_no_part_of_a_file(filled: Filled, tmp_path: Path) -> None:
    """Files that may not grow stand in for a full disk."""
    filled(PEOPLE)
    full = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "Free space" in full.stdout, full.stderr
    assert str(tmp_path / "run") in full.stdout
    assert list((tmp_path / "run").iterdir()) == []
