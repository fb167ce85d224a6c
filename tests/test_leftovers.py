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

from tabdar_pipeline.assets import leftovers, shelf
from tabdar_pipeline.assets.served import Served
from tabdar_pipeline.cli import app
from tabdar_pipeline.components.synthetic_table import SyntheticTable
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import Partition, publish, releases, verify
from tabdar_pipeline.warehouse.snapshot import Snapshot

TARGET = "synthetic.people"
AT_ONCE = timedelta(0)
MADE = {"model_fingerprint": "ab12"}


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """One release, with a copy."""
    duckdb.connect(str(tmp_path / "w.duckdb")).close()
    it = Warehouse(tmp_path / "w.duckdb", wait_s=5)
    publish(it, TARGET, pa.table({"id": range(3)}), {"id": "BIGINT"}, MADE, tmp_path / "copies")
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
    shelf.put(root / "synthetic.people", "snapshot", Snapshot("crm.people", Path("0123.parquet"), 3, "0123"))
    return root


def written(root: Path, *names: str) -> None:
    """Files of a few bytes, with their folders."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def found_in(storage: Path, warehouse: Warehouse, age: timedelta = AT_ONCE) -> dict[str, str]:
    """Leftovers by their path in the storage, with the reason."""
    found = leftovers.in_storage(storage, releases(warehouse), age)
    return {str(it.path.relative_to(storage)): it.reason for it in found}


def cut_off(copy: Path, name: str) -> Path:
    """The copy as it lies between the commit and its renaming."""
    return copy.parent.rename(copy.parent.with_name(name))


def aged(root: Path, days: float) -> None:
    then = time.time() - days * 86_400
    for path in (root, *root.rglob("*")):
        os.utime(path, (then, then))


def test_what_was_written_aside_goes_and_the_rest_stays(storage: Path, warehouse: Warehouse) -> None:
    found = leftovers.in_storage(storage, releases(warehouse), AT_ONCE)
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
        "synthetic.people/snapshot.json",
        "synthetic.people/snapshots/0123.parquet",
    }


def test_a_training_that_nobody_took_up_goes_and_a_young_one_stays(
    storage: Path, warehouse: Warehouse
) -> None:
    home = storage / "synthetic.people"
    written(home, "training/6-training.safetensors", "training/training.json")
    aged(home, days=3)
    assert "synthetic.people/training" in found_in(storage, warehouse, timedelta(days=1))
    written(home, "training/training.json")
    assert "synthetic.people/training" not in found_in(storage, warehouse, timedelta(days=1))
    leftovers.remove(leftovers.in_home(home, AT_ONCE))
    assert not (home / "training").exists()


def test_files_that_were_written_aside_in_a_folder_go(storage: Path, warehouse: Warehouse) -> None:
    home = storage / "synthetic.people"
    written(
        home, "training/training.json", "training/.7-training.safetensors", "model/.manifest.json", "model/a"
    )
    aged(home, days=3)
    written(home, "training/training.json")
    found = found_in(storage, warehouse, timedelta(days=1))
    assert "synthetic.people/training/.7-training.safetensors" in found
    assert "synthetic.people/model/.manifest.json" in found
    assert "synthetic.people/model/a" not in found


def test_models_that_no_release_was_made_by_go(storage: Path, warehouse: Warehouse) -> None:
    """As where publishing failed after the model was kept; that of the release and of the next refresh stay."""
    home = storage / TARGET
    written(home, "models/cd34/weights.safetensors", "models/ef56/weights.safetensors")
    shelf.put(home / "served", "served", Served("people 1", "ef56", "0123", 3, "0123", {}, {}))
    found = found_in(storage, warehouse)

    assert found["synthetic.people/models/cd34"] == "a model that no release was made by"
    assert not {"synthetic.people/models/ab12", "synthetic.people/models/ef56"} & set(found)


def test_snapshots_that_nothing_names_go(storage: Path, warehouse: Warehouse) -> None:
    """Of the three, one is the last and one is what the served model was fitted on."""
    home = storage / "synthetic.people"
    learned = "4567" * 16
    written(home, f"snapshots/{learned[:16]}.parquet", "snapshots/89ab.parquet")
    shelf.put(home / "served", "served", Served("people 1", "f", "0123", 3, learned, {}, {}))
    found = [it for it in found_in(storage, warehouse) if it.endswith(".parquet") and "snapshots" in it]
    assert found == ["synthetic.people/snapshots/89ab.parquet"]


def test_run_data_without_a_snapshot_are_told_from_what_is_not_ours(
    storage: Path, warehouse: Warehouse
) -> None:
    written(storage, "synthetic.lost/drift.json", "synthetic.lost2/.snapshot.json-12", "of.others/data.csv")
    found = found_in(storage, warehouse)
    assert {"synthetic.lost", "synthetic.lost2"} <= set(found)
    assert "of.others" not in found and "not.ours" not in found


def test_run_data_of_partitions_without_a_release_go(storage: Path, warehouse: Warehouse) -> None:
    """Those that are released stay."""
    rows = pa.table({"id": range(3)})
    publish(
        warehouse, "synthetic.parts", rows, {"id": "BIGINT"}, {}, partition=Partition("a/b", "region", ())
    )
    home = storage / "synthetic.parts"
    written(home, *(f"partitions/{it}" for it in ("a%2Fb/judged.json", "gone/judged.json")))
    found = found_in(storage, warehouse)
    assert found["synthetic.parts/partitions/gone"] == "run data of a partition that has no release"
    assert [it for it in found if "partitions" in it] == ["synthetic.parts/partitions/gone"]


def test_run_data_of_partitions_that_yaml_no_longer_has_go_with_a_release(tmp_path: Path) -> None:
    """A day after they were used last."""
    table = SyntheticTable.from_attributes_dict(
        attributes={
            "source": {"database": "w.duckdb", "table": "crm.people"},
            "partitions": {"column": "region", "values": ["north"]},
        }
    )
    plan = table.plan(tmp_path)
    desks = plan.root / "partitions"
    written(desks, "north/judged.json", "south/judged.json", "west/judged.json")
    aged(desks, days=2)
    written(desks, "west/judged.json")
    assert [it.path.name for it in leftovers.in_partitions(plan)] == ["south"]


def test_what_is_young_may_be_of_a_live_run(storage: Path, warehouse: Warehouse) -> None:
    aged(storage, days=3)
    (storage / "synthetic.people/.model-x1/weights.safetensors").write_bytes(b"now")
    (storage / "synthetic.gone/snapshots/0456.parquet").write_bytes(b"now")
    found = leftovers.in_storage(storage, releases(warehouse), timedelta(days=1))
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
