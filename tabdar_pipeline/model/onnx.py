"""Export of the model's pure functions, and their parity with torch."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tabdar_pipeline.errors import ParityError
from tabdar_pipeline.model.graphs import Graph, graphs
from tabdar_pipeline.model.tabdar import TabDAR

OPSET = 20
TOLERANCE = 1e-3  # largest absolute difference between the engines' outputs
OTHERS = 512  # numbers of a graph that are no weights: axes, sizes, powers of two


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """What was exported, and how far it is from torch."""

    folder: Path
    graphs: tuple[str, ...]  # names of files
    parity: float  # largest absolute difference on random inputs
    opset: int
    bytes: int


def export(model: TabDAR, folder: Path, *, together: bool) -> ExportRecord:
    """Write the graphs into the folder and check them against torch; raises ParityError.

    A graph holds weights and the table of codes, and hardly any other number: no training row could hide there.
    """
    made = graphs(model.eval().float().cpu(), together=together)
    for graph in made:
        _write(graph, folder / graph.name)
        _refuse_others(graph, folder / graph.name)
    worst = max(_difference(graph, folder / graph.name) for graph in made)
    if not worst <= TOLERANCE:
        raise ParityError(
            f"the ONNX graphs in {str(folder)!r} must agree with torch within {TOLERANCE}, however "
            f"they differ by {worst:.2g}. Sample with the torch engine, and report the model."
        )
    names = tuple(graph.name for graph in made)
    size = sum((folder / name).stat().st_size for name in names)
    return ExportRecord(folder, names, parity=worst, opset=OPSET, bytes=size)


def _write(graph: Graph, path: Path) -> None:
    example = graph.example(3)
    with _quiet():
        program = torch.onnx.export(
            graph.module,
            kwargs=example,
            dynamo=True,
            dynamic_shapes=dict(graph.axes),
            input_names=list(_flat(example)),
            output_names=list(graph.outputs),
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None
        program.save(path, external_data=False)


def _refuse_others(graph: Graph, path: Path) -> None:
    """Raise ParityError where a graph holds arrays of numbers that are none of the network's own."""
    import onnx

    tensors = [t.detach().numpy() for t in (*graph.module.parameters(), *graph.module.buffers())]
    own = {each.tobytes() for t in tensors for each in (t, t.T)}
    held = [onnx.numpy_helper.to_array(it) for it in onnx.load(path).graph.initializer]
    others = sum(array.size for array in held if array.tobytes() not in own)
    if others > OTHERS:
        raise ParityError(
            f"{str(path)!r} must hold the network's numbers and no others, however {others:,} are none of its. "
            "Sample with the torch engine, and report the model."
        )


def _difference(graph: Graph, path: Path) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    example = graph.example(7)
    with torch.no_grad():
        expected = graph.module(**example)
    expected = [expected] if isinstance(expected, Tensor) else list(expected)
    found = session.run(None, {name: tensor.numpy() for name, tensor in _flat(example).items()})
    pairs = zip(expected, found, strict=True)
    return max(float(np.abs(a.numpy() - b).max(initial=0.0)) for a, b in pairs)


def _flat(example: Mapping[str, Any]) -> dict[str, Tensor]:
    """Lists spread out: past becomes past_0, past_1, ..."""
    flat: dict[str, Tensor] = {}
    for name, value in example.items():
        flat |= {f"{name}_{i}": v for i, v in enumerate(value)} if isinstance(value, list) else {name: value}
    return flat


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks of what does not concern a user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
