"""What catalogs and OpenLineage read of a run: Dagster's standard keys, from the release back to the source."""

import dagster as dg
import duckdb
import pytest
from conftest import LENIENT
from dagster._core.definitions.metadata.metadata_set import TableMetadataSet

from tabdar_pipeline.components.synthetic_table import SyntheticTable

WAY = ["synthetic", "people"]


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """One table with a key."""
    root = tmp_path_factory.mktemp("lineage")
    with duckdb.connect(str(root / "w.duckdb")) as connection:
        connection.execute(
            "CREATE SCHEMA crm; CREATE TABLE crm.people AS SELECT i AS id, i % 3 AS a, i * 7 % 50 AS b FROM range(300) t(i)"
        )
    attributes = {
        "source": {"database": "w.duckdb", "table": "crm.people", "keys": ["id"]},
        "train": {"epochs": 1},
        "policy": LENIENT,
    }
    return SyntheticTable.from_attributes_dict(attributes=attributes).definitions(root)


@pytest.fixture(scope="module")
def told(definitions: dg.Definitions) -> dict[str, TableMetadataSet]:
    """The standard keys that each step of a run emits, by the step."""
    run = definitions.resolve_job_def("refresh_synthetic_people").execute_in_process()
    events = [it.step_materialization_data.materialization for it in run.get_asset_materialization_events()]
    return {
        "/".join(it.asset_key.path[2:]) or "release": TableMetadataSet.extract(it.metadata) for it in events
    }


def test_each_step_that_has_rows_says_columns_and_count(told: dict[str, TableMetadataSet]) -> None:
    """The model has columns, and no rows."""
    columns = {
        step: [it.name for it in facts.column_schema.columns]
        for step, facts in told.items()
        if facts.column_schema
    }

    assert columns == {step: ["id", "a", "b"] for step in ("snapshot", "model", "candidate", "release")}
    assert {step: facts.row_count for step, facts in told.items() if facts.row_count} == {
        "snapshot": 300,
        "candidate": 300,
        "release": 300,
    }


def test_a_column_is_traced_from_the_release_to_the_source(told: dict[str, TableMetadataSet]) -> None:
    """Through candidate, model and snapshot; what a modelled column follows are all modelled ones."""
    keys = {dg.AssetKey([*WAY, step]): step for step in told} | {dg.AssetKey(["crm", "people"]): "source"}

    def above(step: str, column: str) -> list[tuple[str, str]]:
        deps = told[step].column_lineage.deps_by_column[column]
        return [(keys[it.asset_key], it.column_name) for it in deps]

    assert above("release", "a") == [("candidate", "a")]
    assert above("candidate", "a") == [("model", "a"), ("model", "b")]
    assert above("candidate", "id") == [("model", "id")]
    assert above("model", "a") == [("snapshot", "a")]
    assert above("snapshot", "a") == [("source", "a")]


def test_source_and_release_are_named_as_the_warehouse_has_them(
    definitions: dg.Definitions, told: dict[str, TableMetadataSet]
) -> None:
    """The same before any run as after it: consumers read the view, whichever release it serves."""
    graph = definitions.resolve_asset_graph()
    names = {
        name: TableMetadataSet.extract(graph.get(dg.AssetKey(name.split("."))).metadata)
        for name in ("crm.people", "synthetic.people")
    }

    assert {name: (it.table_name, it.storage_kind) for name, it in names.items()} == {
        "crm.people": ("w.crm.people", "duckdb"),
        "synthetic.people": ("w.synthetic.people", "duckdb"),
    }
    assert told["release"].table_name == "w.synthetic.people"
