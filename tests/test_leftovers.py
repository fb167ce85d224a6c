"""Leftovers: what a cut-off run left goes once it is old, what anything needs stays, copies are finished."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from tabdar_pipeline.assets import leftovers
from tabdar_pipeline.cli import app
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import publish, verify

TARGET = "synthetic.people"
AT_ONCE = timedelta(0)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """One release, with a copy."""
    duckdb.connect(str(tmp_path / "w.duckdb")).close()
    it = Warehouse(tmp_path / "w.duckdb", wait_s=5)
    publish(it, TARGET, pa.table({"id": range(3)}), {"id": "BIGINT"}, {}, tmp_path / "copies")
    return it


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Run data of a released target, of one without a release, and a folder that is not ours."""
    root = tmp_path / "run"
    for name in (
        "synthetic.people/models/ab12/weights.safetensors",
        "synthetic.people/snapshots/0123.parquet",
        "synthetic.people/snapshots/.ab12.partial",
        "synthetic.people/.model-x1/weights.safetensors",
        "synthetic.people/models/.retired-ab12/weights.safetensors",
        "synthetic.people/.candidate.parquet",
        "synthetic.gone/snapshots/0456.parquet",
        "not.ours/.git/config",
        "notes/.hidden",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 10)
    return root


def cut_off(copy: Path, name: str) -> Path:
    """The copy as it lies between the commit and its renaming."""
    return copy.parent.rename(copy.parent.with_name(name))


def aged(root: Path, days: float) -> None:
    then = time.time() - days * 86_400
    for path in (root, *root.rglob("*")):
        os.utime(path, (then, then))


def test_what_was_written_aside_goes_and_the_rest_stays(storage: Path) -> None:
    found = leftovers.in_storage(storage, {TARGET}, AT_ONCE)
    leftovers.remove(found)
    assert {str(it.path.relative_to(storage)) for it in found} == {
        "synthetic.gone",
        "synthetic.people/.candidate.parquet",
        "synthetic.people/.model-x1",
        "synthetic.people/models/.retired-ab12",
        "synthetic.people/snapshots/.ab12.partial",
    }
    left = {str(p.relative_to(storage)) for p in storage.rglob("*") if p.is_file()}
    assert left == {
        "not.ours/.git/config",
        "notes/.hidden",
        "synthetic.people/models/ab12/weights.safetensors",
        "synthetic.people/snapshots/0123.parquet",
    }


def test_what_is_young_may_be_of_a_live_run(storage: Path) -> None:
    aged(storage, days=3)
    (storage / "synthetic.people/.model-x1/weights.safetensors").write_bytes(b"now")
    (storage / "synthetic.gone/snapshots/0456.parquet").write_bytes(b"now")
    found = leftovers.in_storage(storage, {TARGET}, timedelta(days=1))
    assert [it.path.name for it in found] == [".candidate.parquet", ".retired-ab12", ".ab12.partial"]


def test_a_publication_that_was_cut_off_is_finished(warehouse: Warehouse, storage: Path) -> None:
    (release,) = leftovers.settle_copies(warehouse, storage.parent / "copies")
    assert release.copy is not None
    staged = cut_off(release.copy, ".r0001-0123abcd")
    assert "tabdar clean" in verify(warehouse, TARGET).problems[0]
    folder = str(storage.parent / "copies")
    done = CliRunner().invoke(app, ["clean", str(storage), str(warehouse.path), "--folder", folder])
    assert done.exit_code == 0, done.output
    assert verify(warehouse, TARGET)
    assert not staged.exists()


def test_a_copy_of_no_release_goes(warehouse: Warehouse, storage: Path) -> None:
    copies = storage.parent / "copies" / TARGET
    for name in (".r0002-0123abcd", ".retired-r0000"):
        (copies / name).mkdir()
    arguments = ["clean", str(storage), str(warehouse.path), "--folder", str(copies.parent)]
    done = CliRunner().invoke(app, [*arguments, "--older-than", "0", "--json"])
    said = [Path(it["path"]).name for it in json.loads(done.stdout)["leftovers"]]
    assert said[-2:] == [".r0002-0123abcd", ".retired-r0000"]
    assert [it.name for it in copies.iterdir()] == ["r0001"]


def test_a_dry_run_removes_nothing(warehouse: Warehouse, storage: Path) -> None:
    before = sorted(storage.rglob("*"))
    done = CliRunner().invoke(
        app, ["clean", str(storage), str(warehouse.path), "--older-than", "0", "--dry-run"]
    )
    assert "5 would be removed, 0.0 MB" in done.stdout
    assert sorted(storage.rglob("*")) == before
