"""The models of releases: kept whole, shared, and gone with the last release that has them."""

import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from tabdar_pipeline import checkpoint
from tabdar_pipeline.assets import models, retiring, shelf
from tabdar_pipeline.assets.served import Served
from tabdar_pipeline.errors import StorageError
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import find, publish

TARGET = "synthetic.people"


@pytest.fixture
def warehouse(tmp_path: Path, saved: Path) -> Warehouse:
    """Three releases: the first two of one model, the third of another."""
    duckdb.connect(str(tmp_path / "w.duckdb")).close()
    it = Warehouse(tmp_path / "w.duckdb", wait_s=5)
    made = checkpoint.describe(saved).fingerprint
    for fingerprint in (made, made, "other"):
        publish(it, TARGET, pa.table({"id": [1]}), {"id": "BIGINT"}, {"model_fingerprint": fingerprint})
    return it


def test_a_model_is_kept_once_and_found_by_the_manifest(
    warehouse: Warehouse, saved: Path, tmp_path: Path
) -> None:
    """A torn one is written again."""
    kept = models.keep(tmp_path / "run", TARGET, saved, checkpoint.describe(saved).fingerprint)
    assert (
        models.keep(tmp_path / "run", TARGET, saved, checkpoint.describe(saved).fingerprint)
        == kept
        == models.of(tmp_path / "run", find(warehouse, TARGET, 1))
    )
    assert checkpoint.describe(kept).fingerprint == kept.name

    (kept / "weights.safetensors").unlink()
    models.keep(tmp_path / "run", TARGET, saved, checkpoint.describe(saved).fingerprint)
    assert checkpoint.verify(kept)
    assert [it.name for it in kept.parent.iterdir()] == [kept.name]


def test_another_model_than_the_one_that_is_meant_is_not_kept(saved: Path, tmp_path: Path) -> None:
    """As where another run refreshed the table whose model is reused."""
    with pytest.raises(StorageError, match="must hold model 0123 until it is kept, however by then it held"):
        models.keep(tmp_path / "run", TARGET, saved, "0123")
    assert [*(tmp_path / "run" / TARGET / "models").iterdir()] == []


def test_a_model_that_cannot_be_kept_leaves_nothing(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No half directory, and the reason."""

    def full(source: Path, aside: Path) -> None:
        aside.mkdir(parents=True)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(StorageError, match="No space left"):
        models.keep(tmp_path / "run", TARGET, saved, checkpoint.describe(saved).fingerprint)
    assert [*(tmp_path / "run" / TARGET / "models").iterdir()] == []


def test_a_model_goes_with_the_last_release_that_has_it(
    warehouse: Warehouse, saved: Path, tmp_path: Path
) -> None:
    """Retired by hand or by retention."""
    storage = tmp_path / "run"
    kept = models.keep(storage, TARGET, saved, checkpoint.describe(saved).fingerprint)
    retiring.retire(warehouse, TARGET, 1, storage)
    assert kept.is_dir()
    retiring.retain(warehouse, TARGET, 1, storage)
    assert [*kept.parent.iterdir()] == []


def test_a_model_stays_that_the_next_refresh_may_begin_with(
    warehouse: Warehouse, saved: Path, tmp_path: Path
) -> None:
    """Also where its release was rolled back and retired."""
    storage = tmp_path / "run"
    kept = models.keep(storage, TARGET, saved, checkpoint.describe(saved).fingerprint)
    shelf.put(
        storage / TARGET / "served", "served", Served(f"{TARGET} r0002", kept.name, "v", 1, "v", {}, {})
    )
    retiring.retain(warehouse, TARGET, 1, storage)
    assert kept.is_dir()
