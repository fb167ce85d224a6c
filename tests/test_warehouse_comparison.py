"""Two releases side by side."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from tabdar_pipeline.cli import app
from tabdar_pipeline.errors import SourceError
from tabdar_pipeline.warehouse.comparison import Difference, compare
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import publish, retire

TARGET = "synthetic.people"


def people(rows: int, older: float) -> pa.Table:
    rng = np.random.default_rng(7)
    return pa.table({"age": rng.normal(40, 10, rows).round() + older, "level": ["low", "high"] * (rows // 2)})


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """Three releases: the second has other settings, the third other columns and ages."""
    duckdb.connect(str(tmp_path / "w.duckdb")).close()
    it = Warehouse(tmp_path / "w.duckdb", wait_s=5)
    types = {"age": "DOUBLE", "level": "VARCHAR"}
    settings = {"fit": {"seconds": 60, "seed": 0}}
    publish(it, TARGET, people(400, 0), types, {"settings": settings, "figures": {"shape_error": 1.0}})
    settings = {"fit": {"seconds": 90, "seed": 0}}
    publish(it, TARGET, people(400, 0), types, {"settings": settings, "figures": {"shape_error": 0.5}})
    wider = people(200, 30).append_column("city", pa.array(["a", "b"] * 100))
    publish(it, TARGET, wider, types | {"city": "VARCHAR"}, {"settings": settings})
    return it


def test_only_what_differs_is_told(warehouse: Warehouse) -> None:
    """Settings by their path, figures by their name; the same rows do not drift."""
    found = compare(warehouse, TARGET, 1, 2)
    assert found.differences == (
        Difference("settings.fit.seconds", 60, 90),
        Difference("figures.shape_error", 1.0, 0.5),
    )
    assert found.drift == {"age": 0.0, "level": 0.0}


def test_columns_rows_and_drift_are_told(warehouse: Warehouse) -> None:
    """The column that moved comes first."""
    found = compare(warehouse, TARGET, 2, 3)
    assert Difference("rows", 400, 200) in found.differences
    assert Difference("type of city", None, "VARCHAR") in found.differences
    assert list(found.drift) == ["age", "level"]
    assert found.drift["age"] > 80
    assert found.drift["level"] < 1


def test_a_retired_release_has_nothing_to_compare(warehouse: Warehouse) -> None:
    """It is refused by name."""
    retire(warehouse, TARGET, 1)
    with pytest.raises(SourceError, match=r"people r0001.*retired"):
        compare(warehouse, TARGET, 1, 3)


def test_the_command_prints_the_same(warehouse: Warehouse) -> None:
    """For a person and for a script."""
    words = ["release", "diff", str(warehouse.path), TARGET, "1", "2"]
    assert "settings.fit.seconds: 60 -> 90" in CliRunner().invoke(app, words).output
    facts = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert facts["drift"] == {"age": 0.0, "level": 0.0}
    assert "is retired" in CliRunner().invoke(app, ["release", "retire", *words[2:5]]).output
    shown = CliRunner().invoke(app, ["release", "list", str(warehouse.path)]).output
    assert ", retired 2" in shown
