"""Partitions in the warehouse: a release each under one view, and nothing served twice, or lost."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from tabdar_pipeline.cli import app
from tabdar_pipeline.errors import ReleaseRefused, SourceError, StorageError
from tabdar_pipeline.warehouse.catalog import describe
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.promotion import promote, promotions
from tabdar_pipeline.warehouse.publish import (
    Companion,
    Partition,
    Release,
    find,
    publish,
    releases,
    rollback,
    serving,
    verify,
    withdraw,
)
from tabdar_pipeline.warehouse.references import released
from tabdar_pipeline.warehouse.releases import recorded
from tabdar_pipeline.warehouse.retention import retain, retire

TARGET = "synthetic.people"
TYPES = {"id": "BIGINT", "region": "ENUM('north', 'south')"}


def put(warehouse: Warehouse, region: str, first: int, rows: int = 3, **more: Any) -> Release:
    """Publish so many rows of a region, with keys from `first` on."""
    table = pa.table({"id": range(first, first + rows), "region": [region] * rows})
    partition = Partition(region, "region", ("id",))
    return publish(
        warehouse, TARGET, table, TYPES, {"source": {"table": "crm.people"}}, partition=partition, **more
    )


@pytest.fixture
def empty(tmp_path: Path) -> Warehouse:
    """A database without releases."""
    duckdb.connect(str(tmp_path / "w.duckdb")).close()
    return Warehouse(tmp_path / "w.duckdb", wait_s=5)


@pytest.fixture
def warehouse(empty: Warehouse) -> Warehouse:
    """Releases of north (1 and 3) and south (2), of which the newest are served."""
    put(empty, "north", 0)
    put(empty, "south", 10)
    put(empty, "north", 20, rows=4)
    return empty


def query(warehouse: Warehouse, sql: str) -> list[Any]:
    with warehouse.connect(read_only=True) as connection:
        return connection.execute(sql).fetchall()


def keys(warehouse: Warehouse, view: str = TARGET) -> list[int]:
    return sorted(key for (key,) in query(warehouse, f"SELECT id FROM {view}"))


def served(warehouse: Warehouse) -> list[tuple[int, str | None]]:
    return [(it.number, it.partition) for it in serving(warehouse, TARGET)]


def comment(warehouse: Warehouse, view: str) -> str:
    return str(query(warehouse, f"SELECT comment FROM duckdb_views() WHERE view_name = '{view}'")[0][0])


def test_one_view_serves_the_newest_release_of_each_partition(warehouse: Warehouse) -> None:
    """In the types of the source; numbers count within the target."""
    assert keys(warehouse) == [10, 11, 12, 20, 21, 22, 23]
    assert served(warehouse) == [(3, "north"), (2, "south")]
    assert describe(warehouse, TARGET).sql_types == TYPES
    assert "serves releases 3 (north), 2 (south)" in comment(warehouse, "people")
    assert find(warehouse, TARGET, partition="south").label == "synthetic.people r0002 (south)"
    assert find(warehouse, TARGET, 3).manifest["partition"] == {
        "key": "north",
        "by": "region",
        "keys": ["id"],
    }


def test_rollback_changes_one_partition(warehouse: Warehouse) -> None:
    """The others stay as they are."""
    rollback(warehouse, TARGET, 1)

    assert served(warehouse) == [(2, "south"), (1, "north")]
    assert keys(warehouse) == [0, 1, 2, 10, 11, 12]


def test_nobody_goes_back_to_keys_that_another_partition_has_by_now(warehouse: Warehouse) -> None:
    """Neither in the view that serves nor in the one of approved rows; and nothing is changed."""
    promote(warehouse, TARGET, 1, "Ada", "fine")
    put(warehouse, "south", 1)
    for again in (
        lambda: rollback(warehouse, TARGET, 1),
        lambda: promote(warehouse, TARGET, 4, "Ada", "fine"),
    ):
        with pytest.raises(SourceError, match=r"must have keys of its own, however column 'id' has some of"):
            again()
    assert served(warehouse) == [(4, "south"), (3, "north")]
    assert keys(warehouse, f"{TARGET}__promoted") == [0, 1, 2]


def test_a_partition_that_is_not_named_is_asked_for(warehouse: Warehouse) -> None:
    """Where one is needed; and one that is not there is refused by name."""
    with pytest.raises(SourceError, match=r"serves the partitions 'north', 'south'.*--partition"):
        find(warehouse, TARGET)
    with pytest.raises(SourceError, match=r"partition 'west': must have a served release"):
        find(warehouse, TARGET, partition="west")
    with pytest.raises(SourceError, match=r"partition 'south': must have release 1, however .*: 2"):
        find(warehouse, TARGET, 1, "south")


def test_a_key_that_another_partition_serves_is_refused(warehouse: Warehouse) -> None:
    """And nothing is changed; its own release, which it replaces, does not count."""
    before = served(warehouse)
    with pytest.raises(
        ReleaseRefused, match=r"column 'id' has keys that synthetic\.people r0003 \(north\) serves"
    ):
        put(warehouse, "south", 23)
    assert served(warehouse) == before
    assert put(warehouse, "north", 20).number == 4


@pytest.mark.parametrize(
    "partition", [None, Partition("2024-01-01", "joined by month")], ids=["whole", "others"]
)
def test_parts_are_never_served_beside_the_whole_or_other_parts(
    warehouse: Warehouse, partition: Partition | None
) -> None:
    """Rows would be there twice."""
    table = pa.table({"id": [99], "region": ["north"]})
    with pytest.raises(
        SourceError, match=r"must be of .*partitions of region: together they would serve rows twice"
    ):
        publish(warehouse, TARGET, table, TYPES, {}, partition=partition)
    assert len(releases(warehouse, TARGET)) == 3


def test_a_whole_that_is_served_refuses_parts(empty: Warehouse) -> None:
    """The other way round."""
    publish(empty, TARGET, pa.table({"id": [1], "region": ["north"]}), TYPES, {})
    with pytest.raises(
        SourceError, match=r"must be of partitions of region, however synthetic\.people r0001 is"
    ):
        put(empty, "north", 5)


def test_retention_keeps_so_many_of_each_partition(warehouse: Warehouse) -> None:
    """Not of the target."""
    for first in (30, 40):
        put(warehouse, "south", first)
    gone = retain(warehouse, TARGET, 1)

    assert {(it.number, it.partition) for it in gone} == {(1, "north"), (2, "south"), (4, "south")}
    assert served(warehouse) == [(5, "south"), (3, "north")]


def test_the_second_view_serves_what_was_approved_of_each_partition(warehouse: Warehouse) -> None:
    """An approval of one leaves the others; what is approved cannot be retired."""
    promote(warehouse, TARGET, None, "Ada", "fine", partition="south")
    assert keys(warehouse, f"{TARGET}__promoted") == [10, 11, 12]
    promote(warehouse, TARGET, 1, "Ada", "fine")
    put(warehouse, "south", 30)

    assert keys(warehouse, f"{TARGET}__promoted") == [0, 1, 2, 10, 11, 12]
    assert comment(warehouse, "people__promoted").count("by Ada") == 2
    assert [it.number for it in promotions(warehouse, TARGET)] == [1, 2]
    with pytest.raises(SourceError, match=r"must not be promoted to be retired"):
        retire(warehouse, TARGET, 2)
    assert retain(warehouse, TARGET, 1) == []


def test_a_partition_is_withdrawn_and_served_again(warehouse: Warehouse) -> None:
    """Its releases stay; the last one is never withdrawn."""
    assert not withdraw(warehouse, TARGET, "north").served
    assert keys(warehouse) == [10, 11, 12]
    with pytest.raises(SourceError, match=r"'south' is the only one"):
        withdraw(warehouse, TARGET, "south")
    rollback(warehouse, TARGET, 3)
    assert served(warehouse) == [(3, "north"), (2, "south")]


def test_a_column_that_came_later_is_null_in_partitions_from_before(warehouse: Warehouse) -> None:
    """Until they are released again; where types differ, the view has the one that holds both."""
    table = pa.table({"id": [50], "region": ["south"], "age": [7]})
    part = Partition("south", "region", ("id",))
    publish(warehouse, TARGET, table, {**TYPES, "id": "INTEGER", "age": "INTEGER"}, {}, partition=part)
    assert query(warehouse, f"SELECT age FROM {TARGET} ORDER BY id")[-1:] == [(7,)]
    assert query(warehouse, f"SELECT count(*) FROM {TARGET} WHERE age IS NULL") == [(4,)]
    assert describe(warehouse, TARGET).sql_types == TYPES | {"age": "INTEGER"}


def test_copies_and_companions_go_with_each_partition(empty: Warehouse, tmp_path: Path) -> None:
    """A copy a release; the view of a companion serves all of them."""
    for region, first in (("north", 0), ("south", 10)):
        beside = {"flags": Companion(pa.table({"id": [first]}), {"id": "BIGINT"})}
        put(empty, region, first, folder=tmp_path / "out", companions=beside)

    assert keys(empty, f"{TARGET}__flags") == [0, 10]
    assert sorted(p.parent.name for p in (tmp_path / "out").rglob("data.parquet")) == ["r0001", "r0002"]
    assert all(verify(empty, TARGET, partition=region) for region in ("north", "south"))


def test_foreign_keys_refer_to_all_partitions(warehouse: Warehouse) -> None:
    """To every release that the view of the other table serves."""
    bound = released(warehouse, "crm.orders", {"person": "crm.people.id"})["person"]

    assert bound.release == "synthetic.people r0003, r0002"
    assert set(bound.relations) == {"synthetic.people__r0003", "synthetic.people__r0002"}


def old_warehouse(path: Path) -> Warehouse:
    """A database as the first format of the record left it: two releases, of which the first is served."""
    warehouse = Warehouse(path, wait_s=5)
    duckdb.connect(str(path)).close()
    for number in (1, 2):
        publish(warehouse, TARGET, pa.table({"id": [number], "region": ["north"]}), TYPES, {"n": number})
    rollback(warehouse, TARGET, 1)
    with warehouse.connect() as connection:
        connection.execute("ALTER TABLE tabdar.releases DROP COLUMN partition")
    return warehouse


def columns(warehouse: Warehouse) -> list[str]:
    return [row[0] for row in query(warehouse, "DESCRIBE tabdar.releases")]


def test_a_record_of_the_first_format_is_read_as_it_is(tmp_path: Path) -> None:
    """Reading changes nothing."""
    warehouse = old_warehouse(tmp_path / "old.duckdb")

    assert [(it.number, it.served, it.partition) for it in releases(warehouse)] == [
        (2, False, None),
        (1, True, None),
    ]
    assert verify(warehouse, TARGET)
    assert "partition" not in columns(warehouse)


@pytest.mark.parametrize("write", ["publish", "rollback"])
def test_a_record_of_the_first_format_is_brought_up_to_date_by_the_first_write(
    tmp_path: Path, write: str
) -> None:
    """What it said of earlier releases stays word for word."""
    warehouse = old_warehouse(tmp_path / "old.duckdb")
    before = query(
        warehouse, "SELECT manifest, manifest_hash, rows_hash FROM tabdar.releases ORDER BY number"
    )
    if write == "publish":
        publish(warehouse, TARGET, pa.table({"id": [3], "region": ["south"]}), TYPES, {})
        publish(
            warehouse,
            "synthetic.parted",
            pa.table({"id": [4]}),
            {"id": "BIGINT"},
            {},
            partition=Partition("a", "b"),
        )
    else:
        rollback(warehouse, TARGET, 2)

    assert columns(warehouse)[-1] == "partition"
    after = query(
        warehouse, "SELECT manifest, manifest_hash, rows_hash FROM tabdar.releases ORDER BY target, number"
    )
    assert [row for row in after if row in before] == before
    assert [it.number for it in serving(warehouse, TARGET)] == [3 if write == "publish" else 2]


def test_a_publication_that_fails_leaves_the_first_format(tmp_path: Path) -> None:
    """The migration is of the same transaction: both, or neither."""
    warehouse = old_warehouse(tmp_path / "old.duckdb")
    (tmp_path / "taken" / TARGET / "r0003").mkdir(parents=True)
    with pytest.raises(StorageError, match="must be free for the next release"):
        publish(
            warehouse,
            TARGET,
            pa.table({"id": [3], "region": ["south"]}),
            TYPES,
            {},
            folder=tmp_path / "taken",
        )

    assert "partition" not in columns(warehouse)
    assert [it.number for it in serving(warehouse, TARGET)] == [1]


_KILLED = f"""
import os, signal, sys
import pyarrow as pa
from pathlib import Path
from tabdar_pipeline.warehouse import releases
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import Partition, publish

releases.point = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
table = pa.table({{"id": [70], "region": ["north"]}})
part = Partition("north", "region", ("id",)) if sys.argv[2] == "north" else None
publish(Warehouse(Path(sys.argv[1])), "{TARGET}", table, {TYPES!r}, {{}}, partition=part)
"""


@pytest.mark.parametrize("part", ["north", "whole"])
def test_kill_9_between_record_and_view_changes_nothing(tmp_path: Path, part: str) -> None:
    """Neither a partition's release nor the format of the record is ever half there."""
    if part == "north":
        warehouse = Warehouse(tmp_path / "w.duckdb", wait_s=5)
        duckdb.connect(str(warehouse.path)).close()
        put(warehouse, "north", 0)
        put(warehouse, "south", 10)
    else:
        warehouse = old_warehouse(tmp_path / "w.duckdb")
    before = (served(warehouse), keys(warehouse), columns(warehouse))
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(warehouse.path), part], check=False)

    assert killed.returncode == -signal.SIGKILL
    assert (served(warehouse), keys(warehouse), columns(warehouse)) == before
    assert len(releases(warehouse, TARGET)) == 2


def test_a_record_of_another_version_is_refused(warehouse: Warehouse) -> None:
    """By reading and by writing."""
    with warehouse.connect() as connection:
        connection.execute("ALTER TABLE tabdar.releases ADD COLUMN later INTEGER")
    with pytest.raises(StorageError, match="another version of tabdar_pipeline made it"):
        put(warehouse, "north", 50)
    with (
        warehouse.connect(read_only=True) as connection,
        pytest.raises(StorageError, match="another version"),
    ):
        recorded(connection)


def cli(warehouse: Warehouse, *words: str) -> str:
    said = CliRunner().invoke(
        app, ["release", words[0], str(warehouse.path), TARGET, *words[1:]], catch_exceptions=False
    )
    assert said.exit_code == 0, said.output
    return said.stdout


def test_every_command_takes_a_partition(warehouse: Warehouse) -> None:
    """List, show, verify, promote, withdraw, rollback; verify without one takes all that is served."""
    assert [line[:2] for line in cli(warehouse, "list").splitlines()] == ["* ", "* ", "  "]
    assert cli(warehouse, "list", "--partition", "south").startswith("* synthetic.people r0002 (south)")
    assert json.loads(cli(warehouse, "show", "--partition", "north"))["number"] == 3
    assert cli(warehouse, "verify").splitlines() == [
        "synthetic.people r0003 (north): as it was published",
        "synthetic.people r0002 (south): as it was published",
    ]
    assert "r0002" in cli(warehouse, "verify", "--partition", "south")
    said = cli(warehouse, "promote", "--partition", "south", "--who", "Ada", "--why", "fine")
    assert said.strip() == "synthetic.people r0002 is promoted by Ada"
    assert (
        cli(warehouse, "withdraw", "north").strip()
        == "synthetic.people, partition 'north', is not served any more"
    )
    assert cli(warehouse, "rollback", "1").strip() == "synthetic.people r0001 (north) is served"
