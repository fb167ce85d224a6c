"""Manifests: plain JSON, the same hash for the same facts, and read back from a publication."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tabdar_pipeline import __version__
from tabdar_pipeline.release.manifest import Manifest, library_versions

MANIFEST = Manifest(
    source={"database": "w.duckdb", "table": "crm.people", "rows": 10, "data_version": "ab"},
    contract_hash="c",
    schema_fingerprint="s",
    code_version=__version__,
    libraries={"numpy": "2"},
    model_fingerprint="m",
    seeds={"fit": 0, "sample": 1},
    settings={"columns": ("a", "b")},
    figures={"shape_error": 1.0, "utility": float("nan")},
    floor={"shape_error": 0.5},
    decision={"passed": True, "reasons": ()},
)


def test_a_manifest_is_json_that_every_reader_takes() -> None:
    """NaN and infinity are not JSON."""
    text = json.dumps(MANIFEST.to_json(), allow_nan=False)
    assert json.loads(text) == MANIFEST.to_json()
    assert MANIFEST.to_json()["figures"] == {"shape_error": 1.0, "utility": None}


def test_a_published_manifest_is_read_back_without_what_the_warehouse_added() -> None:
    """And has the hash that it had before."""
    published = {**MANIFEST.to_json(), "number": 1, "rows": 10, "relation": "synthetic.people__r0001"}
    assert Manifest.from_json(published).hash == MANIFEST.hash


def test_a_manifest_of_before_columns_were_counted_is_still_read() -> None:
    """It says nothing of what was kept back."""
    record = {name: value for name, value in MANIFEST.to_json().items() if name != "protected"}
    assert Manifest.from_json(record).protected == {}


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.floats(allow_nan=False) | st.none()))
def test_the_hash_is_of_the_facts_and_not_of_their_order(settings: dict[str, object]) -> None:
    """Equal settings in another order, equal hash; another setting, another hash."""
    turned = dict(reversed(settings.items()))
    one, other = replace(MANIFEST, settings=settings), replace(MANIFEST, settings=turned)
    assert one.hash == other.hash
    assert replace(MANIFEST, settings={**settings, "more": 1, "still more": 2}).hash != one.hash


def test_the_versions_are_those_of_what_is_installed() -> None:
    """The package first, also where it runs from its sources."""
    found = library_versions()
    assert found["tabdar-pipeline"] == __version__
    assert {"numpy", "duckdb", "pyarrow"} <= set(found)
