"""A model directory: what was saved is what is loaded, and nothing else is."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from tabdar_pipeline import checkpoint
from tabdar_pipeline.errors import ModelDirectoryError, StorageError
from tabdar_pipeline.synthesizer import TabDAR


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def test_a_loaded_model_draws_what_the_saved_one_draws(model: TabDAR, saved: Path) -> None:
    """Fingerprint, history and rows."""
    loaded = TabDAR.load(saved)

    assert loaded.fingerprint == model.fingerprint
    assert loaded.history == model.history
    assert loaded.sample(50, seed=2, format="arrow").equals(model.sample(50, seed=2, format="arrow"))


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "codec.json", "schema.json", "model.json", "backbone.onnx"]
)
def test_an_altered_file_is_refused_by_name(copy: Path, name: str) -> None:
    """One byte is enough."""
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(ModelDirectoryError, match=name.replace(".", r"\.")):
        TabDAR.load(copy)


@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json"])
def test_a_torn_directory_is_refused(copy: Path, name: str) -> None:
    """A missing file is named."""
    (copy / name).unlink()
    with pytest.raises(ModelDirectoryError, match=name.replace(".", r"\.")):
        TabDAR.load(copy)


def test_a_newer_format_is_refused(copy: Path) -> None:
    """The next step is to upgrade."""
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(ModelDirectoryError, match=r"format 99.*Upgrade"):
        TabDAR.load(copy)


def test_names_in_a_manifest_cannot_leave_the_directory(copy: Path) -> None:
    """A hostile manifest reads no file outside."""
    outside = copy.parent / "secret"
    outside.write_text("x")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["../secret"] = checkpoint.file_hash(outside)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelDirectoryError):
        TabDAR.load(copy)


def test_a_directory_with_other_files_is_not_replaced(model: TabDAR, tmp_path: Path) -> None:
    """Nothing of anybody else's is lost."""
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(StorageError, match="holds other files"):
        model.save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_saving_twice_replaces_the_model(model: TabDAR, copy: Path) -> None:
    """The directory is whole before and after."""
    again = TabDAR.load(copy)
    again.save(copy)

    assert TabDAR.load(copy).fingerprint == model.fingerprint


def test_no_pickle_and_no_row_is_in_the_directory(saved: Path, table: pa.Table) -> None:
    """Weights are safetensors, the rest JSON and ONNX; keys and dense values are nowhere."""
    assert {p.suffix for p in saved.iterdir()} == {".json", ".safetensors", ".onnx"}
    text = "".join(p.read_text() for p in saved.glob("*.json"))
    assert not [key for key in table["customer_id"].to_pylist() if key in text]
    assert not [x for x in table["score"].to_pylist() if repr(x) in text]
