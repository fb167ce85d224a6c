"""A column that is left out is held against the contract, and neither learned nor released."""

from pathlib import Path

import dagster as dg
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tabdar_pipeline.cli import app
from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.warehouse.catalog import describe
from tabdar_pipeline.warehouse.duckdb import Warehouse

POLICY = {"shape_error": 100, "trend_error": 100, "c2st_boosted": 0.5, "dcr_share": 0.5, "copies": 1}


@pytest.fixture
def table() -> pa.Table:
    """`half` is of two towns; whose `note` is a secret."""
    rows = range(400)
    return pa.table(
        {
            "town": [("Ede", "Goes")[i % 2] for i in rows],
            "note": [f"secret {i % 9}" for i in rows],
            "age": [20 + i * 7 % 50 for i in rows],
        }
    )


def contract(table: pa.Table, path: Path) -> Path:
    text = Contract.infer(table, infer_schema(table, "crm.people")).to_yaml()
    before, after = text.split("  note:\n    kind: category\n")
    path.write_text(f"{before}  note:\n    kind: leave_out\n{after}")
    return path


def test_a_release_lacks_the_column(table: pa.Table, tmp_path: Path) -> None:
    """Twice: a refresh that finds nothing new is no schema drift."""
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.register("people", table)
        connection.execute("CREATE SCHEMA crm; CREATE TABLE crm.people AS SELECT * FROM people")
    attributes = {
        "source": {"database": str(tmp_path / "w.duckdb"), "table": "crm.people"},
        "train": {"epochs": 1},
        "storage": str(tmp_path / "run"),
        "policy": POLICY,
        "contract": str(contract(table, tmp_path / "people.yaml")),
    }
    defs = dg.build_defs_for_component(SyntheticTable.from_attributes_dict(attributes=attributes))
    for _ in range(2):
        assert defs.resolve_job_def("refresh_synthetic_people").execute_in_process().success

    released = describe(Warehouse(tmp_path / "w.duckdb"), "synthetic.people")
    assert [*released.sql_types] == ["town", "age"]
    model = (tmp_path / "run" / "synthetic.people" / "model").rglob("*.json")
    assert not any("secret" in path.read_text() for path in model)


def test_it_must_be_as_the_contract_says_all_the_same(table: pa.Table, tmp_path: Path) -> None:
    """Its absence, or another type, is drift that a person should know of."""
    declared = Contract.read(contract(table, tmp_path / "people.yaml"))

    assert not declared.validate(table)
    assert [it.check for it in declared.validate(table.drop_columns(["note"]))] == ["column is there"]
    assert declared.released.schema.names == ("town", "age")
    assert Contract.from_yaml(declared.to_yaml()) == declared


def test_the_command_line_leaves_it_out(table: pa.Table, tmp_path: Path) -> None:
    source, model, out = tmp_path / "people.parquet", tmp_path / "model", tmp_path / "out.parquet"
    pq.write_table(table, source)
    declared = str(contract(table, tmp_path / "people.yaml"))
    run = CliRunner()
    done = run.invoke(app, ["fit", str(source), str(model), "--contract", declared, "--epochs", "1"])
    assert done.exit_code == 0, done.output
    assert run.invoke(app, ["sample", str(model), str(out), "--rows", "50"]).exit_code == 0
    assert pq.read_schema(out).names == ["town", "age"]
