"""Options that several commands share, and the words that they take."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer

PANDAS_INDEX = "__index_level_0__"  # what pandas writes into a parquet file for an index without a name


class Device(StrEnum):
    """Where to train."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Preset(StrEnum):
    """Size of the network."""

    auto = "auto"
    small = "small"
    medium = "medium"
    large = "large"


class Precision(StrEnum):
    """What matrix products are computed in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class MissingName(StrEnum):
    """What a missing cell is."""

    generated = "generated"
    unknown = "unknown"


class EngineName(StrEnum):
    """What runs the model."""

    onnx = "onnx"
    torch = "torch"


class QualityName(StrEnum):
    """How finely the diffusion of numbers is solved."""

    exact = "exact"
    balanced = "balanced"
    fast = "fast"


class PointName(StrEnum):
    """What an imputed cell is."""

    draw = "draw"
    mean = "mean"
    median = "median"
    mode = "mode"


TableOption = Annotated[str | None, typer.Option(help="schema.table, where the file is a database.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
SeedOption = Annotated[int, typer.Option(min=0, help="The same seed gives the same rows.")]


def kept_unseen(unseen: Mapping[str, int]) -> str:
    """The end of a sentence about cells that are kept and were no evidence; nothing where there are none."""
    return _listed("kept, though the model never saw such values", unseen)


def still_missing(left: Mapping[str, int]) -> str:
    """The end of a sentence about cells that nothing could fill; nothing where there are none."""
    return _listed("still missing", left)


def _listed(what: str, cells: Mapping[str, int]) -> str:
    said = ", ".join(f"{name} {n:,}" for name, n in cells.items())
    return f"; {what}: {said}" if said else ""
