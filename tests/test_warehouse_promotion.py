"""Promotion: a person's approval is recorded, and the second view stays where it was put."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from tabdar_pipeline.cli import app
from tabdar_pipeline.errors import SourceError, UsageError
from tabdar_pipeline.warehouse import promotion
from tabdar_pipeline.warehouse import publish as publishing
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.promotion import promote, promotions
from tabdar_pipeline.warehouse.publish import publish, releases, rollback
from tabdar_pipeline.warehouse.retention import retain, retire

TARGET = "synthetic.people"
TYPES = {"id": "BIGINT"}


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """Three releases of one, two and three rows; the newest is served."""
    duckdb.connect(str(tmp_path / "w.duckdb")).close()
    it = Warehouse(tmp_path / "w.duckdb", wait_s=5)
    for n in range(1, 4):
        publish(it, TARGET, pa.table({"id": range(n)}), TYPES, {"n": n})
    return it


def rows(warehouse: Warehouse, view: str) -> int:
    with warehouse.connect(read_only=True) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {view}").fetchall()[0][0])


def said(warehouse: Warehouse) -> str:
    with warehouse.connect(read_only=True) as connection:
        found: list[Any] = connection.execute(
            "SELECT comment FROM duckdb_views() WHERE view_name = 'people__promoted'"
        ).fetchall()
        return str(found[0][0])


def test_consumers_of_the_second_view_read_what_was_approved(warehouse: Warehouse) -> None:
    """Whatever is published, or served, after it."""
    promote(warehouse, TARGET, 2, "Ada", "looked at the report")
    publish(warehouse, TARGET, pa.table({"id": range(9)}), TYPES, {})
    rollback(warehouse, TARGET, 1)
    assert rows(warehouse, "synthetic.people__promoted") == 2
    assert rows(warehouse, TARGET) == 1
    assert "by Ada: looked at the report" in said(warehouse)


def test_each_approval_is_recorded_and_the_last_one_holds(warehouse: Warehouse) -> None:
    """Who, when and why; an empty one is refused."""
    assert promotions(warehouse, TARGET) == []
    first = promote(warehouse, TARGET, None, "Ada", "good")
    second = promote(warehouse, TARGET, 1, "Bob's", "r3 was not; DROP TABLE")
    assert promotions(warehouse, TARGET) == [second, first]
    assert (first.number, rows(warehouse, "synthetic.people__promoted")) == (3, 1)
    with pytest.raises(UsageError, match="must say why"):
        promote(warehouse, TARGET, 1, "Ada", " ")


def test_what_was_approved_keeps_its_rows(warehouse: Warehouse) -> None:
    """Retirement refuses it, retention spares it; a retired one cannot be approved."""
    promote(warehouse, TARGET, 1, "Ada", "good")
    with pytest.raises(SourceError, match="'Ada' did"):
        retire(warehouse, TARGET, 1)
    assert [it.number for it in retain(warehouse, TARGET, 1)] == [2]
    assert [it.number for it in releases(warehouse, TARGET) if not it.retired] == [3, 1]
    with pytest.raises(SourceError, match="was retired"):
        promote(warehouse, TARGET, 2, "Ada", "good")


def test_a_name_that_is_taken_is_left_alone(warehouse: Warehouse) -> None:
    """Nothing is recorded either."""
    with warehouse.connect(read_only=False) as connection:
        connection.execute("CREATE TABLE synthetic.people__promoted AS SELECT 7 AS id")
    with pytest.raises(SourceError, match="Rename it"):
        promote(warehouse, TARGET, 1, "Ada", "good")
    assert promotions(warehouse, TARGET) == []
    assert rows(warehouse, "synthetic.people__promoted") == 1


def test_the_command_promotes(warehouse: Warehouse) -> None:
    """With a person and a reason; the served release where no number is given."""
    words = ["release", "promote", str(warehouse.path), TARGET, "--who", "Ada", "--why", "good"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "r0003 is promoted by Ada" in result.output


def test_list_and_show_say_the_stage_and_who_approved(warehouse: Warehouse) -> None:
    """For a person and for a script; an approval that holds no longer stays in the record."""
    promote(warehouse, TARGET, 1, "Ada", "good")
    promote(warehouse, TARGET, 2, "Bob", "better")
    at = str(warehouse.path)
    lines = CliRunner().invoke(app, ["release", "list", at]).output.splitlines()
    assert ["promoted" in line for line in lines] == [False, True, False]
    assert "by Bob: better" in lines[1]

    facts = json.loads(CliRunner().invoke(app, ["release", "list", at, "--json"]).output)["releases"]
    assert [it["stage"] for it in facts] == ["accepted", "promoted", "accepted"]
    shown = json.loads(CliRunner().invoke(app, ["release", "show", at, TARGET, "1"]).output)
    assert (shown["stage"], [(it["who"], it["why"]) for it in shown["approvals"]]) == (
        "accepted",
        [("Ada", "good")],
    )


def test_a_clock_that_goes_back_changes_no_order(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers and approvals count by what was done last, not by the time that was shown then."""
    promote(warehouse, TARGET, 3, "Ada", "looked at it")

    class Earlier(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "Earlier":
            return cls(2001, 1, 1, tzinfo=tz)

    monkeypatch.setattr(promotion, "datetime", Earlier)
    monkeypatch.setattr(publishing, "datetime", Earlier)
    fourth = publish(warehouse, TARGET, pa.table({"id": range(4)}), TYPES, {})
    promote(warehouse, TARGET, 1, "Ben", "on second thoughts")
    newest = promotions(warehouse, TARGET)[0]

    assert (fourth.number, fourth.created.year, fourth.served) == (4, 2001, True)
    assert releases(warehouse, TARGET)[0] == fourth
    assert (newest.number, newest.who) == (1, "Ben")
    assert [it.number for it in retain(warehouse, TARGET, 1)] == [3, 2]  # neither served nor approved
    with pytest.raises(SourceError, match="promoted"):
        retire(warehouse, TARGET, 1)
    assert rows(warehouse, "synthetic.people__promoted") == 1
