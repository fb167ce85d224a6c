"""What is exported: the pure functions of one model, what they take, and which sizes may vary.

B rows, N columns revealed now, T places for those revealed before, K codes, M cells.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from tabdar_pipeline.model.step import Ask, Reveal, Slope
from tabdar_pipeline.model.tabdar import TabDAR

BACKBONE, QUERY, DENOISER = "backbone.onnx", "query.onnx", "denoiser.onnx"
PLACES = 5  # of the examples
_B, _N, _T, _K, _M = (Dim.DYNAMIC for _ in range(5))


@dataclass(frozen=True, slots=True)
class Graph:
    """One function."""

    name: str
    module: nn.Module
    example: Callable[[int], dict[str, Any]]  # of so many rows
    axes: Mapping[str, object]
    outputs: tuple[str, ...]


def graphs(model: TabDAR, *, together: bool) -> tuple[Graph, Graph, Graph]:
    """Reveal columns; ask for one; the slope that the solver of its cells walks along.

    together: columns can be revealed several at once, and see each other; else one by one, which is faster.
    """
    return _backbone(model, together), _query(model), _denoiser(model)


def _backbone(model: TabDAR, together: bool) -> Graph:
    past, columns = 2 * model.config.layers, 2 if together else 1

    def example(rows: int) -> dict[str, Any]:
        rng = torch.Generator().manual_seed(0)
        found: dict[str, Any] = {
            "columns": torch.randint(len(model.offsets), (columns,), generator=rng),
            "codes": torch.zeros(rows, columns, dtype=torch.int64),
            "values": torch.randn(rows, columns, generator=rng),
        }
        if past:
            found |= {
                "earlier": torch.ones(columns, columns).tril(),
                "shown": torch.ones(rows, columns),
                "past_shown": torch.ones(rows, PLACES),
                "past": _past(model, past, rows, rng),
            }
        return found

    cells = {0: _B, 1: _N} if together else {0: _B}
    axes: dict[str, object] = {"columns": {0: _N} if together else None, "codes": cells, "values": cells}
    if past:
        axes |= {
            "earlier": {0: _N, 1: _N} if together else None,
            "shown": cells,
            "past_shown": {0: _B, 1: _T},
            "past": [{0: _B, 2: _T}] * past,
        }
    fresh = tuple(f"fresh_{i}" for i in range(past + 2 * model.config.decoder_layers))
    return Graph(BACKBONE, Reveal(model).eval(), example, axes, fresh)


def _query(model: TabDAR) -> Graph:
    past = 2 * model.config.decoder_layers

    def example(rows: int) -> dict[str, Any]:
        rng = torch.Generator().manual_seed(1)
        return {
            "target": torch.tensor([0]),
            "levels": torch.arange(int(model.table.offsets[0]), int(model.table.offsets[1])),
            "past_shown": torch.ones(rows, PLACES),
            "past": _past(model, past, rows, rng),
        }

    axes = {
        "target": None,
        "levels": {0: _K},
        "past_shown": {0: _B, 1: _T},
        "past": [{0: _B, 2: _T}] * past,
    }
    return Graph(QUERY, Ask(model).eval(), example, axes, ("z", "logits"))


def _denoiser(model: TabDAR) -> Graph:
    def example(cells: int) -> dict[str, Any]:
        rng = torch.Generator().manual_seed(2)
        return {
            "x": torch.randn(cells, generator=rng),
            "theta": torch.tensor([0.7]),
            "z": torch.randn(cells, model.config.width, generator=rng),
            "flat": torch.randint(len(model.table.low), (cells,), generator=rng),
        }

    axes = {"x": {0: _M}, "theta": None, "z": {0: _M}, "flat": {0: _M}}
    return Graph(DENOISER, Slope(model).eval(), example, axes, ("slope",))


def _past(model: TabDAR, arrays: int, rows: int, rng: torch.Generator) -> list[Tensor]:
    """Keys and values (B, G, T, D) of columns revealed before."""
    config = model.config
    shape = rows, config.groups, PLACES, config.width // config.heads
    return [torch.randn(shape, generator=rng) for _ in range(arrays)]
