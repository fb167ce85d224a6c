"""Sizes of networks, how each is best trained, and which suits a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Preset = Literal["auto", "small", "medium", "large"]
ENOUGH_ROWS = 5000  # of which a large network learns more than a small one, and does not learn them by heart


@dataclass(frozen=True, slots=True)
class Size:
    """A network and its training."""

    network: Mapping[str, int]  # of ModelConfig
    learning_rate: float
    dropout: float = 0.0


SIZES = {
    "small": Size({"width": 64, "layers": 0, "decoder_layers": 2, "memory_heads": 1}, 7e-3),
    "medium": Size({"width": 96, "layers": 0, "decoder_layers": 2, "memory_heads": 1}, 6e-3),
    "large": Size(
        {"width": 128, "heads": 4, "layers": 0, "decoder_layers": 3, "memory_heads": 2}, 5e-3, dropout=0.1
    ),
}


def suited(preset: Preset, rows: int, *, on_gpu: bool) -> str:
    """The preset that was asked for, or that suits so many rows and the device.

    >>> suited("auto", 30_000, on_gpu=True), suited("auto", 30_000, on_gpu=False), suited("medium", 900, on_gpu=True)
    ('large', 'small', 'medium')
    """
    if preset != "auto":
        return preset
    return "large" if on_gpu and rows >= ENOUGH_ROWS else "small"
