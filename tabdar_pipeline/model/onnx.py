"""Export of the two pure functions, backbone and denoiser, and their parity with torch."""

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
from torch import Tensor, nn
from torch.export import Dim

from tabdar_pipeline.errors import ParityError
from tabdar_pipeline.model.step import BackboneStep, DenoiserSolver
from tabdar_pipeline.model.tabdar import TabDAR

OPSET = 20
TOLERANCE = 1e-3  # largest absolute difference between the engines' outputs
BACKBONE, DENOISER = "backbone.onnx", "denoiser.onnx"


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """What was exported, and how far it is from torch."""

    backbone: Path
    denoiser: Path
    parity: float  # largest absolute difference on random inputs
    opset: int
    bytes: int


def export(model: TabDAR, folder: Path, *, solver_steps: int) -> ExportRecord:
    """Write both graphs into the folder and check them against torch; raises ParityError."""
    model = model.eval().float().cpu()
    backbone, solver = BackboneStep(model).eval(), DenoiserSolver(model, solver_steps).eval()
    paths = folder / BACKBONE, folder / DENOISER
    example = _backbone_example(model)
    _write(backbone, example, paths[0], _backbone_axes(len(example["past"])), ["z", "logits", "fresh"])
    _write(solver, _denoiser_example(model), paths[1], _DENOISER_AXES, ["residual"])
    worst = max(
        _difference(backbone, _backbone_example(model, rows=5, places=2), paths[0]),
        _difference(solver, _denoiser_example(model, rows=7), paths[1]),
    )
    if not worst <= TOLERANCE:
        raise ParityError(
            f"the ONNX graphs in {str(folder)!r} must agree with torch within {TOLERANCE}, however "
            f"they differ by {worst:.2g}. Sample with the torch engine, and report the model."
        )
    return ExportRecord(*paths, parity=worst, opset=OPSET, bytes=sum(p.stat().st_size for p in paths))


_B, _N, _T, _K, _M = (Dim.DYNAMIC for _ in range(5))


def _backbone_axes(past: int) -> dict[str, object]:
    return {
        "columns": {0: _N},
        "codes": {0: _B, 1: _N},
        "values": {0: _B, 1: _N},
        "later": {0: _N, 1: _N},
        "hidden": {0: _B, 1: _N},
        "target": None,
        "levels": {0: _K},
        "past_hidden": {0: _B, 1: _T},
        "past": [{0: _B, 2: _T}] * past,
    }


_DENOISER_AXES = {"z": {0: _M}, "flat": {0: _M}, "noise": {0: _M}}


def _backbone_example(model: TabDAR, rows: int = 3, places: int = 5) -> dict[str, Any]:
    rng, config = torch.Generator().manual_seed(0), model.config
    width = config.width // config.heads
    arrays = 2 * (config.layers + config.decoder_layers)
    return {
        "columns": torch.randint(len(model.offsets), (2,), generator=rng),
        "codes": torch.zeros(rows, 2, dtype=torch.int64),
        "values": torch.randn(rows, 2, generator=rng),
        "later": torch.zeros(2, 2),
        "hidden": torch.zeros(rows, 2),
        "target": torch.tensor([0]),
        "levels": torch.arange(int(model.table.offsets[0]), int(model.table.offsets[1])),
        "past_hidden": torch.zeros(rows, places),
        "past": [torch.randn(rows, config.heads, places, width, generator=rng) for _ in range(arrays)],
    }


def _denoiser_example(model: TabDAR, rows: int = 3) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return {
        "z": torch.randn(rows, model.config.width, generator=rng),
        "flat": torch.randint(len(model.table.low), (rows,), generator=rng),
        "noise": torch.randn(rows, generator=rng),
    }


def _write(
    module: nn.Module,
    example: Mapping[str, Any],
    path: Path,
    axes: Mapping[str, object],
    outputs: list[str],
) -> None:
    with _quiet():
        program = torch.onnx.export(
            module,
            kwargs=dict(example),
            dynamo=True,
            dynamic_shapes=dict(axes),
            input_names=list(_flat(example)),
            output_names=outputs,
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None
        program.save(path, external_data=False)


def _difference(module: nn.Module, example: Mapping[str, Any], path: Path) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = module(**example)
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
