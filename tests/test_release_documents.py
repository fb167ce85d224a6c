"""What goes with a release that leaves the building: right for any name, and for each kind of release."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tabdar_pipeline.release.documents import Released, documents
from tabdar_pipeline.release.terms import terms
from tabdar_pipeline.schemas.contract import Contract, Rules
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.warehouse.releases import manifest_text

SOURCE = {"database": "shop.duckdb", "table": "crm.people", "data_version": "ab" * 32}
STAMP = {
    "target": "synthetic.people",
    "number": 2,
    "created": "2026-01-02T03:04:05.678901+00:00",
    "rows": 1200,
    "rows_hash": "cd" * 32,
    "source": SOURCE,
    "model_fingerprint": "ef" * 32,
    "contract_hash": "01" * 32,
    "libraries": {"numpy": "2.0"},
}
SYNTHETIC = STAMP | {
    "seeds": {"fit": 0, "sample": 1},
    "settings": {
        "sample": {"seed": 1},
        "source": {"where": "a = 1 || 2\nOR b"},
        "policy": {"shape_error": 3.0, "utility_gap": 0.08, "inference": 0.1},
    },
    "figures": {
        "shape_error": 1.25,
        "utility": 0.9,
        "copies": 0.0,
        "near_copies": 0.0,
        "inference": 0.02,
        "likelihood": 0.01,
    },
    "floor": {
        "shape_error": 1.0,
        "utility": 0.91,
        "copies": 0.003,
        "near_copies": 0.0,
        "inference": 0.0,
        "likelihood": 0.0,
    },
    "intervals": {"near_copies": [0.0, 0.004], "inference": [0.02, 0.3], "likelihood": [0.01, 0.12]},
    "terms": {
        "age": {"required": True, "unique": True, "values": None},
        "town": {"required": False, "unique": False, "values": ["Delft", "Gouda"]},
    },
    "decision": {"passed": True, "reasons": []},
    "protected": {"town": {"rows": 5, "levels": 3, "cells": 7, "clipped": 0}},
}
IMPUTED = STAMP | {
    "kind": "imputed",
    "target": "imputed.people",
    "settings": {"request": {"point": "mean"}},
    "cells": {"age": 90},
    "left": {"note": 4},
    "unseen": {},
    "tests": [{"column": "age", "cells": 50, "error": 0.5, "plain_error": 1.0, "coverage": 0.9}],
}
TEXT, FLAG = {"type": "string"}, {"type": "boolean"}


def _closed(needed: list[str], /, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


_QUALITY = {
    "type": "array",
    "items": _closed(
        ["rule"],
        type={"const": "library"},
        rule={"enum": ["duplicateCount", "validValues", "rowCount"]},
        mustBe={"type": "number"},
        validValues={"type": "array"},
    ),
}
_PROPERTY = _closed(
    ["name", "logicalType", "physicalType", "required", "unique"],
    name=TEXT,
    logicalType={"enum": ["string", "date", "number", "integer", "object", "array", "boolean"]},
    physicalType=TEXT,
    description=TEXT,
    required=FLAG,
    unique=FLAG,
    quality=_QUALITY,
)
ODCS_USED = _closed(  # what the standard has beyond it, this contract does not use
    ["version", "apiVersion", "kind", "id", "status", "schema"],
    version=TEXT,
    apiVersion={"const": "v3.0.2"},
    kind={"const": "DataContract"},
    id=TEXT,
    name=TEXT,
    status={"enum": ["proposed", "draft", "active", "deprecated", "retired"]},
    description=_closed([], purpose=TEXT, usage=TEXT, limitations=TEXT),
    servers={
        "type": "array",
        "items": _closed(
            ["server", "type", "database"], server=TEXT, type={"const": "duckdb"}, database=TEXT, schema=TEXT
        ),
    },
    schema={
        "type": "array",
        "items": _closed(
            ["name", "properties"],
            name=TEXT,
            physicalType=TEXT,
            logicalType={"const": "object"},
            properties={"type": "array", "items": _PROPERTY},
            quality=_QUALITY,
        ),
    },
    customProperties={"type": "array", "items": _closed(["property", "value"], property=TEXT, value={})},
)
TYPES = {"age": "TINYINT", "town": "VARCHAR", "paid": "DECIMAL(8,2)"}


def texts(manifest: dict[str, Any], schema: str = "synthetic", table: str = "people") -> dict[str, str]:
    """Of the manifest as the warehouse gives it back: its keys in the order of the alphabet."""
    published = json.loads(manifest_text(manifest))
    return documents(Released(schema, table, TYPES, {"age": "In years | whole"}, published))


@pytest.mark.parametrize("manifest", [SYNTHETIC, IMPUTED], ids=["synthetic", "imputed"])
def test_a_release_of_either_kind_has_all_documents(manifest: dict[str, Any]) -> None:
    """The data contract has what the standard asks for, and names the database that it is in."""
    found = texts(manifest)
    contract = yaml.safe_load(found["datacontract.yaml"])

    assert set(found) == {"datacontract.yaml", "sources.yml", "DATA_CARD.md", "MODEL_CARD.md"}
    assert {"apiVersion", "kind", "id", "version", "status"} <= set(contract)
    assert contract["servers"][0] == {
        "server": "warehouse",
        "type": "duckdb",
        "database": "shop.duckdb",
        "schema": "synthetic",
    }
    assert [it["logicalType"] for it in contract["schema"][0]["properties"]] == [
        "integer",
        "string",
        "number",
    ]
    for card in ("DATA_CARD.md", "MODEL_CARD.md"):
        tables = [line for line in found[card].splitlines() if line.startswith("|")]
        assert tables and all(line.endswith("|") for line in tables)


def test_a_table_of_synthetic_rows_says_so_with_its_figures_policy_and_privacy() -> None:
    """Figures beside floor and policy; what was kept back."""
    card, model = texts(SYNTHETIC)["DATA_CARD.md"], texts(SYNTHETIC)["MODEL_CARD.md"]

    assert "none equals a row that was learned" in card
    assert "| shape_error | 1.25 | 1 | 3 |" in card
    assert "| utility | 0.9 | 0.91 | 0.08 |" in card
    assert (
        "3 levels in 7 cells not learned" in card
        and "0 levels" not in card
        and "No differential privacy" in card
    )
    assert "## Intended use" in model and "Decision: accepted" in model
    assert r"source.where a = 1 \|\| 2 OR b" in model  # within its cell


def test_attacks_are_told_under_their_own_heading_with_both_ends() -> None:
    """In the order of the audit, and no figure of nearness among them."""
    near, privacy = texts(SYNTHETIC)["DATA_CARD.md"].split("## Privacy")
    told = [line for line in privacy.splitlines() if line.startswith("| ")]

    assert told[2:] == [
        "| near_copies | 0 | 0.004 | none |",
        "| inference | 0.02 | 0.3 | 0.1 |",
        "| likelihood | 0.01 | 0.12 | none |",
    ]
    assert "| copies |" in near and "likelihood" not in near


def test_copies_are_told_where_there_are_some() -> None:
    """Beside what fresh real rows would show; a manifest that did not measure them says nothing."""
    some = SYNTHETIC | {"figures": SYNTHETIC["figures"] | {"copies": 0.0125}}
    found = texts(some)
    for name in ("DATA_CARD.md", "datacontract.yaml"):
        said = " ".join(found[name].split())
        assert "1.25% equal a row that was learned; among fresh real rows 0.30% would" in said
        assert "No row is a real one" not in said
    none = SYNTHETIC | {"figures": {"shape_error": 1.0}}
    assert "a row that was learned" not in texts(none)["DATA_CARD.md"]


def test_the_data_contract_is_of_the_structure_that_the_standard_says() -> None:
    """Names, types and required keys of ODCS 3.0.2, as far as this contract uses them."""
    contract = yaml.safe_load(texts(SYNTHETIC)["datacontract.yaml"])
    jsonschema.validate(contract, ODCS_USED)


def test_terms_are_rules_of_the_contract_and_tests_of_the_source() -> None:
    """Required, unique, accepted values; none of a column that promises nothing."""
    found = texts(SYNTHETIC)
    (table,) = yaml.safe_load(found["datacontract.yaml"])["schema"]
    age, town, paid = table["properties"]
    assert (age["required"], age["unique"]) == (True, True)
    assert age["quality"] == [{"type": "library", "rule": "duplicateCount", "mustBe": 0}]
    assert town["quality"] == [{"type": "library", "rule": "validValues", "validValues": ["Delft", "Gouda"]}]
    assert (paid["required"], paid["unique"], "quality" in paid) == (False, False, False)
    assert table["quality"] == [{"type": "library", "rule": "rowCount", "mustBe": 1200}]

    columns = yaml.safe_load(found["sources.yml"])["sources"][0]["tables"][0]["columns"]
    assert [it.get("data_tests") for it in columns] == [
        ["not_null", "unique"],
        [{"accepted_values": {"values": ["Delft", "Gouda"]}}],
        None,
    ]


def test_one_partition_promises_nothing_of_the_others() -> None:
    """The view has their rows and values as well."""
    part = SYNTHETIC | {"partition": {"key": "north", "by": "region"}}
    (table,) = yaml.safe_load(texts(part)["datacontract.yaml"])["schema"]
    assert "quality" not in table and "quality" not in table["properties"][1]
    assert table["properties"][0]["unique"]


def test_terms_tell_what_the_rows_keep_and_no_level_that_was_kept_back(tmp_path: Path) -> None:
    """A rare level of the contract is not told; what is nullable is not promised."""
    source = pa.table({"id": [1, 2, 3], "town": ["Delft", "Delft", "Rare"], "note": ["a", None, "b"]})
    schema = infer_schema(source, "crm.people", keys=["id"])
    contract = Contract(schema, {"id": Rules(unique=True), "town": Rules(allowed=("Delft", "Rare"))})
    pq.write_table(source.slice(0, 2), tmp_path / "rows.parquet")
    assert terms(contract, tmp_path / "rows.parquet") == {
        "id": {"required": True, "unique": True, "values": None},
        "town": {"required": True, "unique": False, "values": ("Delft",)},
        "note": {"required": False, "unique": False, "values": None},
    }


def test_a_table_of_filled_rows_does_not_call_them_synthetic() -> None:
    """They are real ones, and its readers must know."""
    found = texts(IMPUTED)

    assert "The rows are real ones" in found["DATA_CARD.md"]
    assert "equals a row that was learned" not in "".join(found.values())
    assert "| age | 90 | 0 |" in found["DATA_CARD.md"] and "| note | 0 | 4 |" in found["DATA_CARD.md"]
    assert "| age | 50 | 0.5 | 1 |" in found["DATA_CARD.md"]


def test_names_with_dots_and_quotes_are_one_schema_and_one_table() -> None:
    """As they are in the database, not as they are quoted."""
    odd = SYNTHETIC | {"target": '"syn.thetic"."pe""o.ple"'}
    found = texts(odd, "syn.thetic", 'pe"o.ple')
    contract, source = (yaml.safe_load(found[name]) for name in ("datacontract.yaml", "sources.yml"))

    assert (contract["servers"][0]["schema"], contract["schema"][0]["name"]) == ("syn.thetic", 'pe"o.ple')
    (schema,) = source["sources"]
    assert (schema["name"], schema["tables"][0]["name"]) == ("syn.thetic", 'pe"o.ple')
