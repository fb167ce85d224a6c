"""Several processes that train one model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tabdar_pipeline.model.workers import Place, Workers
from tabdar_pipeline.synthesizer import TabDAR


def dependent(rows: int = 2000) -> pa.Table:
    """b copies a in nine rows of ten."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 4, rows)
    b = np.where(rng.random(rows) < 0.9, a, rng.integers(0, 4, rows))
    return pa.table({"a": a.astype(str), "b": b.astype(str)})


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """The same model within noise, written by one of them."""
    pq.write_table(dependent(), tmp_path / "table.parquet")
    budget = ("--epochs", "10", "--threads", "1", "--json")
    command = (
        "-m",
        "tabdar_pipeline",
        "fit",
        str(tmp_path / "table.parquet"),
        str(tmp_path / "two"),
        *budget,
    )
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    told = subprocess.run(
        [sys.executable, *launch, *command],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert told.returncode == 0, told.stderr
    two = json.loads(told.stdout)["validation_loss"]
    one = min(r.validation_loss for r in TabDAR.fit(dependent(), epochs=10, threads=1).history)
    untrained = 2 * np.log(4)

    assert abs(two - one) < 0.05 * (untrained - one)
    assert TabDAR.load(tmp_path / "two").sample(10)["a"].isin(list("0123")).all()


def test_workers_share_a_batch_without_overlap() -> None:
    """Every row goes to exactly one of them."""
    rows = torch.arange(10)
    parts = [Workers(rank, 3).part(rows) for rank in range(3)]

    assert sorted(torch.cat(parts).tolist()) == rows.tolist()


def test_the_place_is_what_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """And that of the only process where it says nothing."""
    for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert Place.here() == Place(0, 0, 1)
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert Place.here() == Place(5, 1, 4)
