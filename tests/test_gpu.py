"""Training on a GPU: a step that is replayed is the step, and what works on a CPU works there."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tabdar_pipeline import fitting
from tabdar_pipeline.fitting import FitSettings
from tabdar_pipeline.model.batches import Batches
from tabdar_pipeline.model.config import TrainConfig
from tabdar_pipeline.model.descent import EAGER, Descent
from tabdar_pipeline.model.presets import SIZES
from tabdar_pipeline.model.training import EpochRecord
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.synthesizer import TabDAR

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def dependent(rows: int = 6000) -> pa.Table:
    """b copies a in nine rows of ten; x lies near a, and is missing now and then."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 4, rows)
    b = np.where(rng.random(rows) < 0.9, a, rng.integers(0, 4, rows))
    x = pa.array(a + rng.normal(0, 0.1, rows), mask=rng.random(rows) < 0.1)
    return pa.table({"a": a.astype(str), "b": b.astype(str), "x": x})


def losses(table: pa.Table, preset: str, *, replayed: bool) -> list[float]:
    """Of the first steps, with or without a CUDA graph."""
    schema, settings, size = infer_schema(table, "t"), FitSettings(device="cuda"), SIZES[preset]
    codec = fitting.fit_codec(table, schema, None, settings)
    encoded = codec.encode(table, schema, np.random.default_rng(0))
    config = TrainConfig(dropout=size.dropout)
    hardware = fitting._hardware(settings)
    it = fitting._learner(encoded, codec, settings, hardware, config, size.network, None)
    rows, _ = fitting._rows(encoded, int(codec.offsets[-1]), 0, hardware.device)
    descent = Descent(
        it.model, it.average, it.optimizer, it.rng, it.workers, rows, config, hardware.precision
    )
    if not replayed:
        descent.stream = None
    batches = Batches(len(rows), 256, 0, hardware.device)
    return [float(descent.step(batches[k], 0.3, 0.1)) for k in range(EAGER + 30)]


@pytest.mark.parametrize("preset", ["small", "large"])
def test_a_replayed_step_is_the_step(preset: str) -> None:
    """The same orders, noise and weights: losses differ by rounding, which grows with the steps."""
    eager, replayed = (losses(dependent(), preset, replayed=it) for it in (False, True))

    assert replayed[-1] < 0.8 * replayed[0]
    np.testing.assert_allclose(replayed, eager, rtol=0.02)


def test_dependencies_are_learned_on_a_gpu() -> None:
    """By the preset that suits it, in seconds; rows are drawn on the CPU."""
    model = TabDAR.fit(dependent(), epochs=20, seed=0, device="cuda")
    made = model.sample(4000, seed=1, engine="torch")

    assert model.settings["preset"] == "large"
    assert abs((made["a"] == made["b"]).mean() - 0.925) < 0.05
    assert abs(made["x"].isna().mean() - 0.1) < 0.03


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"a": ["x", "y"] * 200, "b": ["u", "v", "w", "u"] * 100}),
        pa.table({"level": [f"l{k % 6000}" for k in range(30_000)], "n": np.arange(30_000) % 7.5}),
        pa.table({"x": np.random.default_rng(0).normal(size=500)}),
    ],
    ids=["no numbers", "thousands of levels", "one column"],
)
def test_any_table_is_learned_on_a_gpu(table: pa.Table) -> None:
    """Shapes that a graph must take."""
    model = TabDAR.fit(table, epochs=8, seed=0, device="cuda")

    assert model.sample(100, seed=1, engine="torch").shape == (100, table.num_columns)


def test_training_goes_on_where_it_was_cut_off_on_a_gpu(tmp_path: Path) -> None:
    """From the state that was kept: its step and its loss."""
    seen: list[EpochRecord] = []

    def cut(record: EpochRecord) -> None:
        seen.append(record)
        if record.budget > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TabDAR.fit(dependent(), epochs=10, seed=1, device="cuda", resume=tmp_path, progress=cut)
    resumed = TabDAR.fit(dependent(), epochs=10, seed=1, device="cuda", resume=tmp_path)

    before, after = resumed.history[: len(seen)], resumed.history[len(seen) :]
    assert list(before) == seen
    assert after[0].step > seen[-1].step
    assert after[0].validation_loss < seen[-1].validation_loss + 0.1
