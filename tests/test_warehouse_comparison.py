"""Two releases side by side."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from tabdar_pipeline.cli import app
from tabdar_pipeline.warehouse.comparison import Difference, compare
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import publish
from tabdar_pipeline.warehouse.retention import retire

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


def test_a_retired_release_is_compared_by_its_manifest(warehouse: Warehouse) -> None:
    """Columns, rows and figures are told; its rows are gone, and no drift is."""
    retire(warehouse, TARGET, 1)
    found = compare(warehouse, TARGET, 1, 3)
    assert Difference("rows", 400, 200) in found.differences
    assert Difference("type of city", None, "VARCHAR") in found.differences
    assert not any(it.fact == "type of age" for it in found.differences)
    assert found.drift == {}


def test_floors_attacks_contract_and_nullability_are_told(warehouse: Warehouse) -> None:
    """As the manifests have them."""
    for low, required in ((0.0, True), (0.1, False)):
        manifest = {
            "floor": {"shape_error": 1.0 + low},
            "figures": {"membership": low},
            "intervals": {"membership": [low, 0.2]},
            "contract_hash": f"of {low}",
            "terms": {"age": {"required": required, "unique": False, "values": None}},
        }
        publish(warehouse, TARGET, people(400, 0), {"age": "DOUBLE", "level": "VARCHAR"}, manifest)
    assert list(compare(warehouse, TARGET, 4, 5).differences) == [
        Difference("contract_hash", "of 0.0", "of 0.1"),
        Difference("terms.age.required", True, False),
        Difference("figures.membership", 0.0, 0.1),
        Difference("floor.shape_error", 1.0, 1.1),
        Difference("intervals.membership", [0.0, 0.2], [0.1, 0.2]),
    ]


def test_the_command_prints_the_same(warehouse: Warehouse) -> None:
    """For a person and for a script."""
    words = ["release", "diff", str(warehouse.path), TARGET, "1", "2"]
    assert "settings.fit.seconds: 60 -> 90" in CliRunner().invoke(app, words).output
    facts = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert facts["drift"] == {"age": 0.0, "level": 0.0}
    assert "is retired" in CliRunner().invoke(app, ["release", "retire", *words[2:5]]).output
    shown = CliRunner().invoke(app, ["release", "list", str(warehouse.path)]).output
    assert ", retired 2" in shown
