"""What goes with a release that leaves the building: right for any name, and for each kind of release."""

from typing import Any

import pytest
import yaml

from tabdar_pipeline.release.documents import Released, documents

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
        "policy": {"shape_error": 3.0, "utility_gap": 0.08},
    },
    "figures": {"shape_error": 1.25, "utility": 0.9, "likelihood": 0.01},
    "floor": {"shape_error": 1.0, "utility": 0.91, "likelihood": 0.0},
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
TYPES = {"age": "TINYINT", "town": "VARCHAR", "paid": "DECIMAL(8,2)"}


def texts(manifest: dict[str, Any], schema: str = "synthetic", table: str = "people") -> dict[str, str]:
    return documents(Released(schema, table, TYPES, {"age": "In years | whole"}, manifest))


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

    assert "No row is a real one" in card
    assert "| shape_error | 1.25 | 1 | 3 |" in card
    assert "| utility | 0.9 | 0.91 | 0.08 |" in card
    assert "3 levels in 7 cells not learned" in card and "No differential privacy" in card
    assert "## Intended use" in model and "Decision: accepted" in model
    assert r"source.where a = 1 \|\| 2 OR b" in model  # within its cell


def test_a_table_of_filled_rows_does_not_call_them_synthetic() -> None:
    """They are real ones, and its readers must know."""
    found = texts(IMPUTED)

    assert "The rows are real ones" in found["DATA_CARD.md"]
    assert "No row is a real one" not in "".join(found.values())
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
