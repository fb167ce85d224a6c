"""Sizes of networks, how each is best trained, and which suits a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Preset = Literal["auto", "small", "medium", "large"]
ENOUGH_ROWS = 5000  # of which a large network learns more than a small one, and does not learn them by heart
CELL_SECONDS = (
    0.004  # of a core: some 160 epochs of a large network, after which it is better than a small one
)


@dataclass(frozen=True, slots=True)
class Size:
    """A network and its training."""

    network: Mapping[str, int]  # of ModelConfig
    learning_rate: float
    dropout: float


SIZES = {
    "small": Size({"width": 64, "layers": 0, "decoder_layers": 2, "memory_heads": 1}, 7e-3, 0.05),
    "medium": Size({"width": 96, "layers": 0, "decoder_layers": 2, "memory_heads": 1}, 6e-3, 0.05),
    "large": Size({"width": 128, "heads": 4, "layers": 0, "decoder_layers": 3, "memory_heads": 2}, 5e-3, 0.1),
}


def suited(preset: Preset, rows: int, columns: int, core_seconds: float, *, on_gpu: bool) -> str:
    """The preset that was asked for, or that suits the table, the budget and the device.

    >>> suited("auto", 30_000, 15, core_seconds=240, on_gpu=False), suited("auto", 30_000, 15, core_seconds=3600, on_gpu=False)
    ('small', 'large')
    >>> suited("auto", 30_000, 15, core_seconds=60, on_gpu=True), suited("medium", 900, 15, core_seconds=60, on_gpu=True)
    ('large', 'medium')
    """
    if preset != "auto":
        return preset
    time = on_gpu or core_seconds >= CELL_SECONDS * rows * columns
    return "large" if time and rows >= ENOUGH_ROWS else "small"
