"""Publishing: the same rows in the same types, in one transaction, and nothing of anybody else's touched."""

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabdar_pipeline.errors import ReleaseRefused, SourceError, StorageError, TabdarError, UsageError
from tabdar_pipeline.warehouse import publish as publishing
from tabdar_pipeline.warehouse.catalog import describe
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.names import Relation, identifier
from tabdar_pipeline.warehouse.promotion import promote
from tabdar_pipeline.warehouse.publish import Companion, find, publish, releases, rollback, verify
from tabdar_pipeline.warehouse.retention import retire
from tabdar_pipeline.warehouse.snapshot import snapshot

TARGET = "synthetic.people"
TYPES = {"id": "BIGINT", "level": "ENUM('low', 'it''s')"}
MANIFEST = {"source": {"table": "crm.people"}, "figures": {"shape_error": 1.5, "utility": None}}


def rows(count: int, shift: int = 0) -> pa.Table:
    """So many rows of the types above."""
    levels = ["low", "it's", None]
    return pa.table({"id": range(shift, shift + count), "level": [levels[i % 3] for i in range(count)]})


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """An empty database."""
    duckdb.connect(str(tmp_path / "w.duckdb")).close()
    return Warehouse(tmp_path / "w.duckdb", wait_s=5)


def query(warehouse: Warehouse, sql: str) -> list[Any]:
    """All rows of a query."""
    with warehouse.connect(read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_a_release_is_a_table_a_view_and_a_record(warehouse: Warehouse) -> None:
    """With the manifest as canonical JSON, and comments that say that the rows are synthetic."""
    release = publish(warehouse, TARGET, rows(5), TYPES, MANIFEST, comments={"id": "The person's number"})
    assert release.identifier == "synthetic.people r0001"
    assert query(warehouse, "FROM synthetic.people") == query(warehouse, "FROM synthetic.people__r0001")
    assert describe(warehouse, TARGET).sql_types == TYPES
    made = describe(warehouse, "synthetic.people__r0001")
    assert made.sql_types == TYPES
    assert made.comments == {"id": "Synthetic. The person's number", "level": "Synthetic."}
    assert made.comment is not None
    assert release.manifest_hash in made.comment
    assert find(warehouse, TARGET) == release
    ((text,),) = query(warehouse, "SELECT manifest FROM tabdar.releases")
    assert json.loads(text) == {
        **MANIFEST,
        "target": TARGET,
        "number": 1,
        "relation": "synthetic.people__r0001",
        "rows": 5,
        "created": release.created.isoformat(),
        "rows_hash": release.rows_hash,
        "columns": [{"name": name, "type": kind} for name, kind in TYPES.items()],
    }


def test_views_and_companions_say_what_their_columns_are(warehouse: Warehouse) -> None:
    """Whatever consumers read; also after a rollback and a promotion."""
    flags = Companion(rows(2), TYPES, {"id": "The person's number", "level": "Whether it was filled."})
    for _ in range(2):
        publish(
            warehouse,
            TARGET,
            rows(2),
            TYPES,
            MANIFEST,
            comments={"id": "It's theirs"},
            companions={"flags": flags},
        )
    promote(warehouse, TARGET, 1, "Ada", "good")
    rollback(warehouse, TARGET, 1)

    for view in (TARGET, f"{TARGET}__promoted"):
        assert describe(warehouse, view).comments == {"id": "Synthetic. It's theirs", "level": "Synthetic."}
    for name in (f"{TARGET}__flags", f"{TARGET}__r0001__flags"):
        made = describe(warehouse, name)
        assert made.comments["level"] == "Synthetic. Whether it was filled."
        assert "eside" in str(made.comment)


def test_a_newer_release_is_served_and_the_older_stays_as_it_was(warehouse: Warehouse) -> None:
    """Releases are immutable; the number counts up, whatever case the target is written in."""
    first = publish(warehouse, TARGET, rows(5), TYPES, MANIFEST)
    second = publish(warehouse, "Synthetic.PEOPLE", rows(3, shift=100), TYPES, MANIFEST)
    assert (second.target, second.number) == (TARGET, 2)
    assert query(warehouse, "SELECT min(id) FROM synthetic.people") == [(100,)]
    assert [(it.number, it.served) for it in releases(warehouse, TARGET)] == [(2, True), (1, False)]
    assert verify(warehouse, TARGET, 1)
    assert find(warehouse, TARGET, 1).rows_hash == first.rows_hash


def test_a_rollback_serves_an_earlier_release_and_the_next_number_is_new(warehouse: Warehouse) -> None:
    """Nothing is lost by it."""
    for shift in (0, 100):
        publish(warehouse, TARGET, rows(4, shift), TYPES, MANIFEST)
    assert rollback(warehouse, TARGET, 1).served
    assert query(warehouse, "SELECT min(id) FROM synthetic.people") == [(0,)]
    assert find(warehouse, TARGET).number == 1
    assert publish(warehouse, TARGET, rows(4, 200), TYPES, MANIFEST).number == 3
    with pytest.raises(SourceError, match=r"release 7.*1, 2, 3"):
        rollback(warehouse, TARGET, 7)


def test_a_rollback_without_a_number_serves_the_release_before(warehouse: Warehouse) -> None:
    """The newest whose rows are kept; where there is none, nothing changes."""
    for shift in (0, 100, 200, 300):
        publish(warehouse, TARGET, rows(4, shift), TYPES, MANIFEST)
    retire(warehouse, TARGET, 3)
    assert [rollback(warehouse, TARGET).number for _ in range(2)] == [2, 1]
    with pytest.raises(SourceError, match=r"r0001.*must have one before it"):
        rollback(warehouse, TARGET)
    assert find(warehouse, TARGET).number == 1


def test_before_the_first_release_there_is_none(warehouse: Warehouse) -> None:
    """And asking makes no table."""
    assert releases(warehouse) == []
    with pytest.raises(SourceError, match=r"a served release.*none"):
        find(warehouse, TARGET)
    assert query(warehouse, "SELECT * FROM information_schema.tables") == []


EARLIEST, LATEST = dt.datetime.fromisoformat("1700-01-01"), dt.datetime.fromisoformat("2200-01-01")
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "UTINYINT": st.integers(0, 255),
    "DOUBLE": st.floats(allow_nan=False),
    "FLOAT": st.floats(width=32, allow_nan=False),
    "BOOLEAN": st.booleans(),
    "VARCHAR": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    "DECIMAL(12,2)": st.decimals(-9_999_999_999, 9_999_999_999, places=2),
    "HUGEINT": st.integers(-(10**37), 10**37),
    "DATE": st.dates(),
    "TIMESTAMP": st.datetimes(EARLIEST, LATEST),
    "TIMESTAMP_S": st.datetimes(EARLIEST, LATEST).map(lambda it: it.replace(microsecond=0)),
    "TIME": st.times(),
    "UUID": st.uuids(),
    "BLOB": st.binary(max_size=8),
    "INTERVAL": st.timedeltas(dt.timedelta(0), dt.timedelta(days=1)),
    "ENUM('a', 'it''s', 'x, y')": st.sampled_from(["a", "it's", "x, y"]),
}
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=10) | st.sampled_from(
    ["select", 'a"b', "a.b", "x; DROP TABLE y", "../..", "'", "%s", "naïve ünïcode"]
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, str], list[list[Any]]]:
    """Types by column, and at least two rows."""
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique_by=str.casefold))
    types = {name: draw(st.sampled_from(list(VALUES))) for name in names}
    row = st.tuples(*(st.none() | VALUES[kind] for kind in types.values())).map(list)
    return types, draw(st.lists(row, min_size=2, max_size=4))


@settings(max_examples=20, deadline=None)
@given(tables(), NAMES, NAMES)
def test_a_published_snapshot_has_the_rows_and_types_of_its_source(
    table: tuple[dict[str, str], list[list[Any]]], schema: str, name: str
) -> None:
    """Through parquet and back, whatever its names; and the copy has the same rows."""
    types, values = table
    with tempfile.TemporaryDirectory() as place:
        warehouse = Warehouse(Path(place) / "w.duckdb")
        with duckdb.connect(str(warehouse.path)) as connection:
            columns = ", ".join(f"{identifier(column)} {kind}" for column, kind in types.items())
            connection.execute(f"CREATE TABLE source ({columns})")
            marks = ", ".join("?" * len(types))
            connection.executemany(f"INSERT INTO source VALUES ({marks})", values)
        taken = snapshot(warehouse, "source", Path(place))
        target = str(Relation(schema, name))
        release = publish(warehouse, target, taken.path, taken.sql_types, {}, Path(place) / "copies")
        assert describe(warehouse, target).sql_types == describe(warehouse, "source").sql_types
        there, back = f"FROM {Relation.parse(release.relation).sql}", "FROM source"
        assert query(warehouse, f"({there}) EXCEPT ALL ({back})") == []
        assert query(warehouse, f"({back}) EXCEPT ALL ({there})") == []
        assert verify(warehouse, target).problems == ()
        assert release.copy is not None
        assert release.copy.is_relative_to(Path(place) / "copies")


def test_values_survive_to_the_last_digit(warehouse: Warehouse) -> None:
    """As Python sees them."""
    types = {"money": "DECIMAL(12,2)", "moment": "TIMESTAMP WITH TIME ZONE"}
    at = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    table = pa.table({"money": pa.array([Decimal("0.10"), None], pa.decimal128(12, 2)), "moment": [at, None]})
    publish(warehouse, TARGET, table, types, {})
    assert query(warehouse, "SELECT money::VARCHAR, moment::VARCHAR FROM synthetic.people") == [
        ("0.10", "2026-03-01 12:00:00+00"),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("taken", "what"),
    [
        ("CREATE TABLE synthetic.people (x INT)", "table"),
        ("CREATE VIEW synthetic.People AS SELECT 1 AS x", "view"),
        ("CREATE TABLE synthetic.people__r0001 (x INT)", "r0001"),
    ],
)
def test_a_name_that_is_taken_is_left_alone(warehouse: Warehouse, taken: str, what: str) -> None:
    """What we did not make we do not replace."""
    with warehouse.connect() as connection:
        connection.execute(f"CREATE SCHEMA synthetic; {taken};")
    with pytest.raises(SourceError, match=what):
        publish(warehouse, TARGET, rows(3), TYPES, MANIFEST)
    assert len(query(warehouse, "SELECT * FROM information_schema.tables")) == 1


@pytest.mark.parametrize(
    ("types", "data", "kind", "says"),
    [
        ({**TYPES, "more": "INTEGER"}, rows(3), ReleaseRefused, "'more' of the source is missing"),
        ({"id": "BIGINT"}, rows(3), ReleaseRefused, "'level' is not of the source"),
        ({**TYPES, "level": "ENUM('low')"}, rows(3), ReleaseRefused, "it's"),
        ({**TYPES, "id": "TINYINT"}, rows(300), ReleaseRefused, "INT8"),
        ({**TYPES, "id": "INT"}, rows(3), UsageError, "as DuckDB describes it"),
        ({**TYPES, "id": "BIGINT); DROP SCHEMA main; --"}, rows(3), UsageError, "as DuckDB describes it"),
        (TYPES, Path("nowhere.parquet"), StorageError, "nowhere"),
    ],
)
def test_rows_that_do_not_fit_are_refused_whole(
    warehouse: Warehouse,
    tmp_path: Path,
    types: dict[str, str],
    data: pa.Table | Path,
    kind: type[TabdarError],
    says: str,
) -> None:
    """The previous release is still served; no table, record or folder is left."""
    first = publish(warehouse, TARGET, rows(5), TYPES, MANIFEST, tmp_path / "copies")
    with pytest.raises(kind, match=says):
        publish(warehouse, TARGET, data, types, MANIFEST, tmp_path / "copies")
    assert releases(warehouse) == [first]
    assert verify(warehouse, TARGET)
    assert [path.name for path in (tmp_path / "copies" / TARGET).iterdir()] == ["r0001"]
    assert query(warehouse, "SELECT count(*) FROM information_schema.tables") == [(3,)]


def test_a_manifest_that_is_no_json_is_refused(warehouse: Warehouse) -> None:
    """NaN is no JSON."""
    with pytest.raises(UsageError, match="plain JSON"):
        publish(warehouse, TARGET, rows(3), TYPES, {"utility": float("nan")})


def test_the_copy_has_the_rows_and_the_manifest(warehouse: Warehouse, tmp_path: Path) -> None:
    """Under a path that names the release."""
    release = publish(warehouse, TARGET, rows(7), TYPES, MANIFEST, tmp_path)
    assert release.copy == tmp_path / TARGET / "r0001" / "data.parquet"
    assert sorted(pq.read_table(release.copy)["id"].to_pylist()) == list(range(7))
    text = (release.copy.parent / "manifest.json").read_text()
    assert json.loads(text) == release.manifest
    assert [(text,)] == query(warehouse, "SELECT manifest FROM tabdar.releases")


def test_a_copy_of_another_warehouse_is_not_overwritten(warehouse: Warehouse, tmp_path: Path) -> None:
    """A path that names a release is immutable."""
    foreign = tmp_path / TARGET / "r0001"
    foreign.mkdir(parents=True)
    (foreign / "data.parquet").write_text("someone's")
    with pytest.raises(StorageError, match="Move it away"):
        publish(warehouse, TARGET, rows(3), TYPES, MANIFEST, tmp_path)
    assert releases(warehouse) == []
    assert (foreign / "data.parquet").read_text() == "someone's"


@pytest.mark.parametrize("where", ["record", "stage", "_comment", "settle"])
def test_what_is_cut_off_leaves_the_previous_release_served(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """At any step; and the next publication goes through."""
    first = publish(warehouse, TARGET, rows(5), TYPES, MANIFEST, tmp_path)

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publishing, where, cut_off)
        with pytest.raises(KeyboardInterrupt):
            publish(warehouse, TARGET, rows(6), TYPES, MANIFEST, tmp_path)
    assert releases(warehouse) == [first]
    assert verify(warehouse, TARGET)
    assert publish(warehouse, TARGET, rows(6), TYPES, MANIFEST, tmp_path).number == 2
    assert sorted(path.name for path in (tmp_path / TARGET).iterdir()) == ["r0001", "r0002"]


_KILLED = """
import os, signal, sys
from pathlib import Path
import pyarrow as pa
from tabdar_pipeline.warehouse import publish as publishing
from tabdar_pipeline.warehouse.duckdb import Warehouse

real, step = publishing.stage, sys.argv[2]

def stage(*arguments):
    staged = real(*arguments)
    if step == "staged":
        os.kill(os.getpid(), signal.SIGKILL)
    return staged

def settle(folder, target, published):
    if step == "committed" and list(published) and list((folder / target.folder).glob(".r*")):
        os.kill(os.getpid(), signal.SIGKILL)

publishing.stage, publishing.settle = stage, settle
folder = Path(sys.argv[1])
publishing.publish(Warehouse(folder / "w.duckdb"), "synthetic.people", pa.table({"id": [1, 2]}),
                   {"id": "BIGINT"}, {}, folder / "copies")
"""


@pytest.mark.parametrize(("step", "published"), [("staged", 0), ("committed", 1)])
def test_after_kill_9_the_warehouse_is_the_truth_and_the_folder_follows(
    warehouse: Warehouse, tmp_path: Path, step: str, published: int
) -> None:
    """What was not committed never shows; what was is settled by the next publication."""
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path), step], check=False)
    assert killed.returncode == -signal.SIGKILL
    copies = tmp_path / "copies" / TARGET
    assert [path.name[:6] for path in copies.iterdir()] == [".r0001"]
    assert len(releases(warehouse)) == published
    publish(warehouse, TARGET, pa.table({"id": [3]}), {"id": "BIGINT"}, {}, tmp_path / "copies")
    publish(warehouse, TARGET, pa.table({"id": [4]}), {"id": "BIGINT"}, {}, tmp_path / "copies")
    assert sorted(path.name for path in copies.iterdir()) == [f"r{i + 1:04d}" for i in range(published + 2)]
    assert all(verify(warehouse, TARGET, release.number) for release in releases(warehouse))


def test_publications_of_one_process_take_numbers_in_turn(warehouse: Warehouse, tmp_path: Path) -> None:
    """No number is given twice, no copy is lost."""
    together, failed = threading.Barrier(3), []

    def work(shift: int) -> None:
        together.wait()
        try:
            publish(warehouse, TARGET, rows(50, shift), TYPES, MANIFEST, tmp_path)
        except TabdarError as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [release.number for release in releases(warehouse)] == [3, 2, 1]
    assert all(verify(warehouse, TARGET, release.number) for release in releases(warehouse))
    assert sorted(path.name for path in (tmp_path / TARGET).iterdir()) == ["r0001", "r0002", "r0003"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE synthetic.people__r0001 SET id = 9 WHERE id = 0", "other rows"),
        ("INSERT INTO synthetic.people__r0001 VALUES (1, NULL)", "other rows"),
        ("DROP VIEW synthetic.people; DROP TABLE synthetic.people__r0001", "cannot be read"),
        ("UPDATE tabdar.releases SET manifest = replace(manifest, '1.5', '0.5')", "manifest"),
        ("UPDATE tabdar.releases SET rows_hash = 'x'", "manifest"),
    ],
)
def test_what_was_altered_by_hand_is_told(warehouse: Warehouse, change: str, says: str) -> None:
    """In the rows, in the record, or in the manifest."""
    publish(warehouse, TARGET, rows(5), TYPES, MANIFEST)
    with warehouse.connect() as connection:
        connection.execute(change)
    found = verify(warehouse, TARGET)
    assert not found
    assert any(says in problem for problem in found.problems)


def test_an_altered_or_missing_copy_is_told(warehouse: Warehouse, tmp_path: Path) -> None:
    """Beside a table that is whole."""
    release = publish(warehouse, TARGET, rows(5), TYPES, MANIFEST, tmp_path)
    assert release.copy is not None
    pq.write_table(rows(5, shift=1), release.copy)
    assert "other rows than the table" in verify(warehouse, TARGET).problems[0]
    release.copy.unlink()
    assert "is not there" in verify(warehouse, TARGET).problems[0]


def test_records_of_another_version_are_refused_by_name(warehouse: Warehouse) -> None:
    """Not misread."""
    with warehouse.connect() as connection:
        connection.execute("CREATE SCHEMA tabdar; CREATE TABLE tabdar.releases (release VARCHAR)")
    with pytest.raises(StorageError, match="another version"):
        releases(warehouse)


_FULL = """
import resource, sys
from pathlib import Path
import pyarrow as pa
from tabdar_pipeline.errors import StorageError
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import publish

folder, most = Path(sys.argv[1]), int(sys.argv[2])
copies = folder / "copies" if sys.argv[3] == "copies" else None
table = pa.table({"id": range(200_000), "text": [str(i * 7919) for i in range(200_000)]})
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
try:
    publish(Warehouse(folder / "w.duckdb", wait_s=1), "synthetic.people", table,
            {"id": "BIGINT", "text": "VARCHAR"}, {}, copies)
except StorageError as error:
    print(error)
"""


@pytest.mark.parametrize(("most", "copies"), [(600_000, "none"), (600_000, "copies")])
def test_no_space_left_names_the_file_and_leaves_the_previous_release(
    warehouse: Warehouse, tmp_path: Path, most: int, copies: str
) -> None:
    """Files that may not grow stand in for a full disk."""
    first = publish(warehouse, TARGET, rows(5), TYPES, MANIFEST)
    command = [sys.executable, "-c", _FULL, str(tmp_path), str(most), copies]
    full = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert "Free space" in full.stdout, full.stderr
    assert str(tmp_path) in full.stdout
    assert releases(warehouse) == [first]
    assert verify(warehouse, TARGET)
