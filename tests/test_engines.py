"""Torch and onnxruntime run the same loop: the same table for the same seed."""

from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest

from tabdar_pipeline.errors import ModelDirectoryError, ParityError
from tabdar_pipeline.model.graphs import QUERY, graphs
from tabdar_pipeline.model.onnx import _refuse_others, _write
from tabdar_pipeline.runtime import OnnxSampler
from tabdar_pipeline.sampling.draws import BLOCK_ROWS
from tabdar_pipeline.synthesizer import TabDAR


def drawn(model: TabDAR, **settings: object) -> pa.Table:
    return model.sample(1500, format="arrow", **settings)  # type: ignore[return-value,arg-type]


def test_torch_and_onnx_give_the_same_table(model: TabDAR) -> None:
    """Categories equal in 99.9 % of cells, numbers equal up to float error in those rows."""
    a, b = (drawn(model, seed=5, engine=engine) for engine in ("torch", "onnx"))
    equal = [
        np.mean(np.array(a[n].to_pylist(), object) == np.array(b[n].to_pylist(), object))
        for n in ("level", "visits", "active", "rating")
    ]

    assert min(equal) > 0.999
    assert np.median(np.abs(a["score"].to_numpy() - b["score"].to_numpy())) < 1e-4


def test_torch_and_onnx_see_the_same_evidence(model: TabDAR, table: pa.Table) -> None:
    """Torch reveals what a row shows at once, ONNX column by column: the estimates agree."""
    holes = table.set_column(1, "level", pa.nulls(len(table), table["level"].type))
    a, b = (model.impute(holes, point="mode", engine=engine) for engine in ("torch", "onnx"))
    levels = [np.array(t["level"].to_pylist(), object) for t in (a, b)]

    assert len(set(levels[0])) > 1
    assert np.mean(levels[0] == levels[1]) > 0.99


def test_the_same_seed_gives_the_same_table_and_another_seed_another(model: TabDAR) -> None:
    """Draws are a function of the seed."""
    assert drawn(model, seed=1).equals(drawn(model, seed=1))
    assert not drawn(model, seed=1).equals(drawn(model, seed=2))


def test_block_b_is_block_b(saved: Path) -> None:
    """However many rows are asked for, and however many blocks are drawn side by side."""
    one = OnnxSampler.load(saved, threads=1)
    two = OnnxSampler.load(saved, threads=2)
    many = pa.Table.from_batches(two.sample_batches(3 * BLOCK_ROWS, seed=9))
    few = pa.Table.from_batches(one.sample_batches(BLOCK_ROWS + 10, seed=9))

    assert many.slice(0, BLOCK_ROWS + 10).equals(few)


def test_export_says_how_far_the_graphs_are_from_torch(model: TabDAR, tmp_path: Path) -> None:
    """Parity is measured, and the graphs are there."""
    model.save(tmp_path / "model")
    record = model.export()

    assert record.parity < 1e-4
    assert sum((record.folder / graph).stat().st_size for graph in record.graphs) == record.bytes
    assert OnnxSampler.load(tmp_path / "model").schema == model.schema


def test_sampling_without_graphs_says_how_to_make_them(model: TabDAR, tmp_path: Path) -> None:
    """The next step is a command."""
    fresh = TabDAR(model.network, model.schema, model.codec, model.settings, model.history)
    fresh.save(tmp_path / "model")
    with pytest.raises(ModelDirectoryError, match="tabdar export"):
        OnnxSampler.load(tmp_path / "model")


def test_graphs_hold_weights_and_nothing_else(model: TabDAR, tmp_path: Path) -> None:
    """A table of numbers within a graph, as of training rows, is refused."""
    graph, path = graphs(model.network, together=True)[1], tmp_path / QUERY
    _write(graph, path)
    _refuse_others(graph, path)
    held = onnx.load(path)
    held.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((500, 5), np.float32), "rows"))
    onnx.save(held, path)
    with pytest.raises(ParityError, match="no others"):
        _refuse_others(graph, path)
