"""What somebody wrote to do harm, or by mistake: refused with a reason, at once, and nothing else happens."""

import copy
import json
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import onnx
import pytest
from dagster.components.resolved.errors import ResolutionException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tabdar_pipeline import checkpoint
from tabdar_pipeline.components.imputed_table import ImputedTable
from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.components.table_collection import TableCollection
from tabdar_pipeline.errors import ModelDirectoryError, TabdarError
from tabdar_pipeline.runtime import OnnxSampler
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.synthesizer import TabDAR

PATHS = ["../../etc/passwd", "/etc/passwd", "a/../../b", "~", "file:///etc/passwd", "a\x00b"]
SQL = ["x'; DROP TABLE t; --", '"; DROP SCHEMA crm CASCADE; --', "1 OR 1=1", "$1", "{{ env.HOME }}"]
ODD = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**30, 1.5, float("nan"), float("inf"), -0.0])
    | st.sampled_from(["", " ", "x" * 10_000, "ß", "١", *PATHS, *SQL])
    | st.lists(st.integers() | st.text(max_size=5), max_size=3)
    | st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)
)
Place = tuple[str | int, ...]


def places(record: Any) -> list[Place]:
    """Ways to every value of nested records, the record itself among them."""
    inner = (
        record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    )
    return [(), *((key, *rest) for key, value in inner for rest in places(value))]


def put(record: Any, place: Place, value: Any) -> Any:
    """A copy with another value there."""
    if not place:
        return value
    changed = copy.copy(record)
    changed[place[0]] = put(record[place[0]], place[1:], value)
    return changed


@st.composite
def altered(draw: st.DrawFn, record: Any) -> Any:
    """One value is another, has become unknown to us, or is gone."""
    place = draw(st.sampled_from(places(record)))
    found = record
    for key in place:
        found = found[key]
    if isinstance(found, dict) and draw(st.booleans()):
        return put(record, place, {**found, draw(st.text(max_size=6)): draw(ODD)})
    if isinstance(found, dict) and found and draw(st.booleans()):
        gone = draw(st.sampled_from(list(found)))
        return put(record, place, {key: value for key, value in found.items() if key != gone})
    return put(record, place, draw(ODD))


SOURCE = {
    "database": "w.duckdb",
    "table": "crm.people",
    "columns": ["a"],
    "where": "a > 0",
    "limit": 10,
    "keys": ["a"],
    "references": {"a": "crm.b.a"},
    "asset": "x/y",
}
SHARED = {
    "source": SOURCE,
    "target": "synthetic",
    "train": {"seconds": 60, "seed": 1, "device": "auto", "preset": "small", "holdout": 0.2},
    "contract": "c.yaml",
    "schedule": "0 3 * * *",
    "timezone": "UTC",
    "fresh": {"hours": 26, "warn_hours": 25},
    "folder": "releases",
    "keep": 3,
    "limits": {"minutes": 30, "memory_gb": 4},
    "storage": ".tabdar",
    "execution": "in_process",
    "owners": ["team:data"],
    "tags": {"a": "b"},
    "resources": "bring",
    "watch": {"by": "watermark", "column": "a", "every": 60},
}
OWN = {
    SyntheticTable: SHARED
    | {
        "sample": {"rows": 100, "seed": 1},
        "policy": {"predict": "a", "shape_error": 3},
        "refresh": {
            "allow": ["skip"],
            "columns": {"skip": 1, "sample": 2, "warm": 3},
            "rows": 0.1,
            "budget": 0.2,
        },
    },
    ImputedTable: SHARED
    | {"impute": {"point": "draw", "draws": 2, "seed": 1, "columns": ["a"]}, "reuse": None},
    TableCollection: {"defaults": SHARED, "tables": {"crm.people": {}, "crm.b": {"train": {"seconds": 9}}}},
}
# TypeError: pydantic's own, where a bound is asked of a value that has no order
REFUSED = (TabdarError, ValidationError, dg.DagsterError, ResolutionException, ValueError, TypeError)


@pytest.mark.parametrize("component", OWN, ids=lambda it: it.__name__)
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_yaml_of_any_values_is_loaded_or_refused(
    component: type[SyntheticTable], data: st.DataObject
) -> None:
    """When the definitions load, in a moment, and without a look at any file."""
    attributes = data.draw(altered(OWN[component]))
    started = time.monotonic()
    with suppress(*REFUSED):
        dg.build_defs_for_component(
            component.from_attributes_dict(attributes=attributes)
        ).get_repository_def()
    assert time.monotonic() - started < 20


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_contract_of_any_values_is_read_or_refused(table: Any, data: st.DataObject) -> None:
    """As a UsageError that names the file."""
    import yaml

    whole = yaml.safe_load(Contract.infer(table, infer_schema(table, "t")).to_yaml())
    text = yaml.safe_dump(data.draw(altered(whole)), allow_unicode=True)
    with suppress(TabdarError):
        Contract.from_yaml(text, "people.yaml").validate(table)


@pytest.mark.parametrize(
    "text", ["[" * 5000, "a: 2024-99-99", "? ? ?", "- &a [*a]", "!!python/object:os.system x", "\x00"]
)
def test_text_that_is_no_contract_is_refused(text: str) -> None:
    with pytest.raises(TabdarError, match="contract"):
        Contract.from_yaml(text)


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A model directory to alter."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.mark.parametrize("name", [checkpoint.MODEL, checkpoint.SCHEMA, checkpoint.CODEC, checkpoint.MANIFEST])
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_model_directory_that_somebody_altered_and_sealed_is_loaded_or_refused(
    saved: Path, tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    """Hashes that fit do not make sense of what is inside."""
    folder = Path(shutil.copytree(saved, tmp_path_factory.mktemp("m") / "model"))
    record = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(data.draw(altered(record))))
    if name != checkpoint.MANIFEST:
        checkpoint.seal(folder)
    for load in (TabDAR.load, OnnxSampler.load):
        with suppress(ModelDirectoryError):
            load(folder)
    shutil.rmtree(folder.parent)


@pytest.mark.parametrize(
    "sizes", [{"width": 4096}, {"layers": 400}, {"width": 10**12}, {"denoiser_blocks": 3}]
)
def test_sizes_that_the_weights_do_not_have_are_refused_before_memory_is_taken(
    folder: Path, sizes: dict[str, int]
) -> None:
    """A line of JSON must not fill a machine."""
    record = json.loads((folder / checkpoint.MODEL).read_text())
    record["config"] |= sizes
    (folder / checkpoint.MODEL).write_text(json.dumps(record))
    checkpoint.seal(folder)
    with pytest.raises(
        ModelDirectoryError, match=r"must have the weights of this network|whole number up to"
    ):
        TabDAR.load(folder)


@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, "backbone.onnx", "query.onnx", "denoiser.onnx"])
@pytest.mark.parametrize("damage", ["empty", "half", "noise", "text"])
def test_a_file_that_is_damaged_and_sealed_is_refused_by_name(folder: Path, name: str, damage: str) -> None:
    """Weights that are none, graphs that are none."""
    data = (folder / name).read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, len(data), np.uint8).tobytes()
    (folder / name).write_bytes(
        {"empty": b"", "half": data[: len(data) // 2], "noise": noise, "text": b"x" * 99}[damage]
    )
    checkpoint.seal(folder)
    load = TabDAR.load if name == checkpoint.WEIGHTS else OnnxSampler.load
    with pytest.raises(ModelDirectoryError, match=name.replace(".", r"\.")):
        load(folder)


def test_a_graph_reads_no_file_outside_its_directory(folder: Path) -> None:
    """ONNX may keep weights in files beside it, and a path in it is somebody's word."""
    secret = folder.parent / "secret"
    graph = onnx.load(folder / "query.onnx")
    onnx.save(
        graph, folder.parent / "aside.onnx", save_as_external_data=True, location="secret", size_threshold=0
    )
    graph = onnx.load(folder.parent / "aside.onnx", load_external_data=False)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../secret" if entry.key == "location" else entry.value
    (folder / "query.onnx").write_bytes(graph.SerializeToString())
    checkpoint.seal(folder)

    assert secret.is_file()
    with pytest.raises(ModelDirectoryError, match=r"query\.onnx"):
        OnnxSampler.load(folder)
