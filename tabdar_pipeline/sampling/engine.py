"""What the any-order loop asks of a model, whichever library runs it."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tabdar_pipeline.sampling.memory import HIDDEN, Flags, Memory, hidden

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]

# cached: a column sees those revealed before it; mixed: those given at the start also see each
# other; paper: all visible columns see each other, so that each step encodes them anew.
Reveal = Literal["cached", "mixed", "paper"]


@dataclass(frozen=True, slots=True)
class Cells:
    """Codes and residuals of a block of rows, column by column."""

    codes: Codes  # (B, C)
    values: Floats  # (B, C)

    @classmethod
    def empty(cls, rows: int, columns: int) -> "Cells":
        """Nothing known yet."""
        return cls(np.zeros((rows, columns), np.int64), np.zeros((rows, columns), np.float32))


@dataclass(frozen=True, slots=True)
class Condition:
    """What a model says of one column, given what it has seen."""

    z: Floats  # (B, E)
    logits: Floats  # (B, K) over the column's codes
    fresh: Any  # (2 L, B, H, N, E / H) keys and values of the columns revealed now, where there are any


class Engine(Protocol):
    """A model that can be run: torch or onnxruntime."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(C + 1,) where each column's codes begin in the flat row of all codes."""

    @property
    def continuous(self) -> NDArray[np.bool_]:
        """(K,) for each code of all columns, whether it carries a residual."""

    @property
    def workers(self) -> int:
        """How many blocks may be drawn side by side."""

    @property
    def reveal(self) -> Reveal:
        """Who sees whom among the visible columns."""

    def start(self, rows: int) -> Memory:
        """The memory of rows of which nothing was revealed."""

    def step(self, memory: Memory, columns: Codes, shown: Flags, cells: Cells, target: int) -> Condition:
        """Reveal these columns (N,) in the rows that show them (B, N), then ask for the target column."""

    def residuals(self, z: Floats, flat: Codes, noise: Floats) -> Floats:
        """Draw the residuals (M,) of cells with conditions z (M, E) and flat codes (M,)."""


def step_inputs(
    columns: Codes, shown: Flags, cells: Cells, target: int, offsets: Codes, reveal: Reveal
) -> tuple[NDArray[np.generic], ...]:
    """The arrays that one step of the backbone takes, but for its memory.

    Where nothing is revealed, a column that no row shows stands in: a graph likes no empty arrays.
    """
    if not len(columns):
        columns, shown = np.zeros(1, np.int64), np.zeros((len(shown), 1), bool)
    later = np.zeros((len(columns), len(columns)), np.float32)
    if reveal == "cached":
        later[np.triu_indices(len(columns), 1)] = HIDDEN
    return (
        columns,
        np.ascontiguousarray(cells.codes[:, columns]),
        np.ascontiguousarray(cells.values[:, columns]),
        later,
        hidden(shown),
        np.array([target]),
        np.arange(offsets[target], offsets[target + 1]),
    )
