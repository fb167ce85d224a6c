"""The whole job in process: from a DuckDB table to a published release, or to none."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from tabdar_pipeline.assets import models
from tabdar_pipeline.assets.steps import publish_release
from tabdar_pipeline.cli import app
from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.errors import ModelDirectoryError, ReleaseRefused, StorageError, UsageError
from tabdar_pipeline.reproduction import reproduce
from tabdar_pipeline.sampling.draws import BLOCK_ROWS
from tabdar_pipeline.warehouse.demo import build_demo
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import find, releases, verify

TARGET = "synthetic.customers"
LENIENT = {
    "shape_error": 60,
    "trend_error": 60,
    "c2st_boosted": 0.5,
    "utility_gap": 1,
    "dcr_share": 0.5,
    "copies": 1,
}
STRICT = {"shape_error": 0, "trend_error": 0, "c2st_boosted": 0}


def component(root: Path, **attributes: Any) -> SyntheticTable:
    settings = {
        "source": {"database": str(root / "demo.duckdb"), "table": "crm.customers", "limit": 800},
        "train": {"epochs": 2},
        "target": TARGET,
        "policy": LENIENT,
        "storage": str(root / "run"),
        "folder": str(root / "releases"),
    }
    return SyntheticTable.from_attributes_dict(attributes=settings | attributes)


def refresh(root: Path, **attributes: Any) -> dg.ExecuteInProcessResult:
    defs = dg.build_defs_for_component(component(root, **attributes))
    job = defs.resolve_job_def("refresh_synthetic_customers")
    return job.execute_in_process(raise_on_error=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse after one accepted and one refused refresh."""
    root = tmp_path_factory.mktemp("job")
    build_demo(root / "demo.duckdb", rows=1500)
    root.joinpath("first").write_text(str(refresh(root).success))
    root.joinpath("second").write_text(str(refresh(root, policy=STRICT, sample={"seed": 9}).success))
    return root


def test_an_accepted_table_is_released_with_the_types_of_its_source(root: Path) -> None:
    """Table, view, record and parquet, all of one release."""
    assert (root / "first").read_text() == "True"
    with duckdb.connect(str(root / "demo.duckdb"), read_only=True) as connection:
        types = [
            {row[0]: row[1] for row in connection.execute(f"DESCRIBE {name}").fetchall()}
            for name in ("crm.customers", "synthetic.customers", "synthetic.customers__r0001")
        ]
        keys = connection.execute(
            "SELECT count(DISTINCT customer_id), count(*) FROM synthetic.customers"
        ).fetchall()

    assert types[0] == types[1] == types[2]
    assert keys == [(800, 800)]
    assert (root / "releases" / TARGET / "r0001" / "data.parquet").is_file()


def test_the_manifest_says_where_the_rows_come_from(root: Path) -> None:
    """Source, data version, contract, model, seeds, figures, floor, decision."""
    manifest = releases(Warehouse(root / "demo.duckdb"), TARGET)[0].manifest

    assert manifest["source"]["table"] == "crm.customers"
    assert manifest["decision"]["passed"] is True
    assert manifest["refresh"]["way"] == "fit"
    assert manifest["refresh"]["learned"] == manifest["source"]["data_version"]
    assert manifest["refresh"]["warm"] is None
    assert manifest["refresh"]["reasons"] == ["nothing was released as synthetic.customers yet"]
    assert set(manifest["figures"]) == set(manifest["floor"])
    assert all(
        len(manifest[name]) == 64 for name in ("contract_hash", "schema_fingerprint", "model_fingerprint")
    )
    assert manifest["protected"]["region"]["rows"] >= 5 and manifest["protected"]["spend"]["clipped"] > 0
    assert verify(Warehouse(root / "demo.duckdb"), TARGET)


def test_a_refused_candidate_leaves_the_previous_release_served(root: Path) -> None:
    """Nothing of it touches the published schema; its report says why."""
    found = releases(Warehouse(root / "demo.duckdb"), TARGET)
    judged = json.loads((root / "run" / TARGET / "judged.json").read_text())

    assert (root / "second").read_text() == "False"
    assert [(r.number, r.served) for r in found] == [(1, True)]
    assert judged["decision"]["reasons"]
    assert json.loads((root / "run" / TARGET / "drift.json").read_text())["refresh"]["way"] == "sample"
    assert "Refused" in (root / "run" / TARGET / "report.html").read_text()


def test_a_candidate_that_was_not_judged_is_never_released(root: Path, tmp_path: Path) -> None:
    """Not even where the report of another one was accepted."""
    shutil.copytree(root / "run", tmp_path / "run")
    home = tmp_path / "run" / TARGET
    judged = json.loads((home / "judged.json").read_text())
    judged["decision"]["passed"] = True
    (home / "judged.json").write_text(json.dumps(judged))
    rows = pq.read_table(home / "candidate.parquet")
    pq.write_table(rows.slice(10), home / "candidate.parquet")
    plan = component(root, storage=str(tmp_path / "run")).plan(root)

    with pytest.raises(ReleaseRefused, match="newer than their report"):
        publish_release(plan, Warehouse(root / "demo.duckdb"))


def test_a_broken_contract_stops_the_job_before_training(root: Path, tmp_path: Path) -> None:
    """And says which column, which check, how many rows."""
    contract = (root / "run" / TARGET / "contract.yaml").read_text()
    contract = re.sub(r"( age:.*?maximum: )'\d+'", r"\1'30'", contract, count=1, flags=re.DOTALL)
    (tmp_path / "contract.yaml").write_text(contract)
    result = refresh(root, contract=str(tmp_path / "contract.yaml"), storage=str(tmp_path / "run"))
    check = next(e for e in result.all_events if e.event_type_value == "ASSET_CHECK_EVALUATION")

    assert not result.success
    assert "column 'age'" in str(check.event_specific_data)
    assert not (tmp_path / "run" / TARGET / "model").exists()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"database": "nowhere.duckdb", "table": "crm.customers"}, "does not exist"),
        ({"table": "crm.custmers"}, "customers"),
        ({"table": "crm.customers", "columns": ["agee"]}, "age"),
        ({"table": "crm.customers", "where": "age > 500"}, "at least 2 rows"),
        ({"table": "crm.customers", "where": "1 = 1; DROP TABLE crm.customers"}, "SQL|expression"),
    ],
)
def test_a_bad_source_is_refused_before_any_work(
    root: Path, tmp_path: Path, source: dict[str, Any], says: str
) -> None:
    """The message names the fact and the next step; nothing is written to the warehouse."""
    before = (root / "demo.duckdb").read_bytes()
    settings = {"database": str(root / "demo.duckdb")} | source
    result = refresh(root, source=settings, storage=str(tmp_path / "run"))
    failure = next(e for e in result.all_events if e.is_step_failure)

    assert re.search(says, str(failure.event_specific_data.error))
    assert (root / "demo.duckdb").read_bytes() == before


def test_the_whole_job_runs_on_adult(benchmarks: Path, tmp_path: Path) -> None:
    """Real data, loaded into DuckDB from parquet."""
    with duckdb.connect(str(tmp_path / "demo.duckdb")) as connection:
        connection.execute("CREATE SCHEMA census")
        connection.execute(
            "CREATE TABLE census.adult AS SELECT * EXCLUDE (__split) FROM read_parquet(?)",
            [str(benchmarks / "data" / "adult.parquet")],
        )
    source = {"database": str(tmp_path / "demo.duckdb"), "table": "census.adult", "limit": 4000}
    adult = SyntheticTable.from_attributes_dict(
        attributes={
            "source": source,
            "train": {"seconds": 15},
            "storage": str(tmp_path / "run"),
            "policy": {**LENIENT, "predict": "income"},
        }
    )
    job = dg.build_defs_for_component(adult).resolve_job_def("refresh_synthetic_adult")
    result = job.execute_in_process()
    release = releases(Warehouse(tmp_path / "demo.duckdb"))[0]

    assert result.success
    assert release.row_count == 4000
    assert release.manifest["figures"]["utility"] > 0.7
    assert release.manifest["figures"]["off_support"] == 0


def test_a_release_is_handed_on_with_its_documents(root: Path, tmp_path: Path) -> None:
    """Rows, manifest, data contract, dbt source and cards; whole, and never over what is there."""
    words = ["release", "export", str(root / "demo.duckdb"), TARGET, str(tmp_path / "out")]
    said = CliRunner().invoke(app, words, catch_exceptions=False)
    assert said.stdout.strip().endswith("synthetic.customers r0001, 800 rows")
    folder = tmp_path / "out"
    names = {
        "data.parquet",
        "manifest.json",
        "datacontract.yaml",
        "sources.yml",
        "DATA_CARD.md",
        "MODEL_CARD.md",
    }
    assert {path.name for path in folder.iterdir()} == names

    contract = yaml.safe_load((folder / "datacontract.yaml").read_text())
    assert (contract["apiVersion"], contract["kind"], contract["version"]) == (
        "v3.0.2",
        "DataContract",
        "1.0.0",
    )
    columns = contract["schema"][0]["properties"]
    assert [c["name"] for c in columns] == pq.read_schema(folder / "data.parquet").names
    source = yaml.safe_load((folder / "sources.yml").read_text())["sources"][0]
    assert (source["name"], source["tables"][0]["name"]) == ("synthetic", "customers")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["model_fingerprint"] in (folder / "MODEL_CARD.md").read_text()
    assert "shape_error" in (folder / "DATA_CARD.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(UsageError, match="must be new"):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_a_release_comes_back_from_its_manifest(root: Path, tmp_path: Path) -> None:
    """Row by row, from the model that is kept; a changed row is named with its block, and another model is refused."""
    (storage,) = {path.parents[2] for path in root.glob("run/**/models/*")}
    copy = tmp_path / "demo.duckdb"
    shutil.copyfile(root / "demo.duckdb", copy)
    words = ["release", "reproduce", str(copy), TARGET, "--storage", str(storage)]
    said = CliRunner().invoke(app, words, catch_exceptions=False)
    assert "800 rows, each as it was published" in said.output

    with Warehouse(copy).connect(read_only=False) as connection:
        connection.execute(f"UPDATE {TARGET}__r0001 SET age = age + 1 WHERE rowid = 777")
    release = find(Warehouse(copy), TARGET)
    model = models.of(storage, release)
    assert (found := reproduce(Warehouse(copy), release, model)).row == 777
    assert found.block == 777 // BLOCK_ROWS
    with pytest.raises(StorageError, match="row 777"):
        CliRunner().invoke(app, words, catch_exceptions=False)

    was = str(release.manifest["model_fingerprint"])
    with Warehouse(copy).connect(read_only=False) as connection:
        connection.execute("UPDATE tabdar.releases SET manifest = replace(manifest, ?, 'f')", [was])
    with pytest.raises(ModelDirectoryError, match="must hold the model f of"):
        reproduce(Warehouse(copy), find(Warehouse(copy), TARGET), model)
    with pytest.raises(ModelDirectoryError, match="Name the `storage`"):
        models.of(storage, find(Warehouse(copy), TARGET))


def test_a_release_is_drawn_again_and_handed_on_in_dagster(root: Path, tmp_path: Path) -> None:
    """From the model in the storage of its table, as an observation of the release."""
    job = dg.build_defs_for_component(component(root)).resolve_job_def("steward_synthetic_customers")
    said = []
    for asked in ({"action": "reproduce"}, {"action": "export", "folder": str(tmp_path / "out")}):
        config = {"ops": {"steward_synthetic_customers_release": {"config": asked}}}
        (it,) = job.execute_in_process(run_config=config).get_asset_observation_events()
        said.append(it.asset_observation_data.asset_observation.metadata["outcome"].value)
    assert said[0] == f"{TARGET} r0001: 800 rows, each as it was published"
    assert (tmp_path / "out" / "data.parquet").is_file()


def test_the_manifest_says_both_ends_of_risks_and_what_the_rows_keep(root: Path) -> None:
    """The lower end is the figure; no key is twice or NULL."""
    manifest = find(Warehouse(root / "demo.duckdb"), TARGET).manifest
    for name, (low, high) in manifest["intervals"].items():
        assert manifest["figures"][name] == low <= high
    assert {"near_copies", "membership", "likelihood"} <= set(manifest["intervals"])
    assert manifest["terms"]["customer_id"] == {"required": True, "unique": True, "values": None}


def test_a_changed_model_is_told(root: Path, tmp_path: Path) -> None:
    """One byte of the kept one, or another model than the release says."""
    storage = tmp_path / "run"
    shutil.copytree(next(path.parents[2] for path in root.glob("run/**/models/*")), storage)
    words = ["release", "verify", str(root / "demo.duckdb"), TARGET, "--storage", str(storage)]
    assert "as it was published" in CliRunner().invoke(app, words, catch_exceptions=False).output

    kept = models.of(storage, find(Warehouse(root / "demo.duckdb"), TARGET))
    with (kept / "weights.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(StorageError, match=r"its model cannot be used: .*weights.safetensors"):
        CliRunner().invoke(app, words, catch_exceptions=False)
