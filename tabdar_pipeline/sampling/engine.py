"""What the any-order loop asks of a model, whichever library runs it."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tabdar_pipeline.sampling.memory import Flags, Memory
from tabdar_pipeline.sampling.stopwatch import Stopwatch

Floats = NDArray[np.float32]
Residuals = NDArray[np.floating[Any]]
Codes = NDArray[np.int64]

# cached: a column sees those revealed before it; mixed: those given at the start also see each
# other; paper: all visible columns see each other, so that each step encodes them anew.
Visibility = Literal["cached", "mixed", "paper"]


@dataclass(frozen=True, slots=True)
class Cells:
    """Codes and residuals of a block of rows, column by column."""

    codes: Codes  # (B, C)
    values: Residuals  # (B, C); a model sees 32 bits of them

    @classmethod
    def empty(cls, rows: int, columns: int) -> "Cells":
        """Nothing known yet."""
        return cls(np.zeros((rows, columns), np.int64), np.zeros((rows, columns)))

    def rows(self, which: Codes) -> "Cells":
        """Those of some rows (N,)."""
        return Cells(self.codes[which], self.values[which])


@dataclass(frozen=True, slots=True)
class Condition:
    """What a model says of one column, given what it has seen."""

    z: Floats  # (B, E)
    logits: Floats  # (B, K) over the column's codes


class Engine(Protocol):
    """A model that can be run: torch or onnxruntime."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(C + 1,) where each column's codes begin in the flat row of all codes."""

    @property
    def continuous(self) -> NDArray[np.bool_]:
        """(K,) for each code of all columns, whether it carries a residual."""

    @property
    def watch(self) -> Stopwatch:
        """Seconds of revealing, asking and solving."""

    @property
    def workers(self) -> int:
        """How many blocks may be drawn side by side."""

    @property
    def reveal(self) -> Visibility:
        """Who sees whom among the visible columns."""

    def memory(self, rows: int) -> AbstractContextManager[Memory]:
        """The memory of rows of which nothing was revealed, for as long as they are drawn."""

    def remember(self, memory: Memory, columns: Codes, shown: Flags, cells: Cells) -> None:
        """Reveal these columns (N,), N > 0, in the rows that show them (B, N)."""

    def ask(self, memory: Memory, target: int) -> Condition:
        """What is known of the target column, given what was revealed."""

    def slope(self, x: Floats, theta: float, z: Floats, flat: Codes) -> Floats:
        """F of the diffusion (M,) at one angle: of noisy residuals x (M,), conditions and codes as below."""

    def residuals(self, z: Floats, flat: Codes, noise: Floats) -> Floats:
        """Draw the residuals (M,) of cells with conditions z (M, E) and flat codes (M,)."""


def revealed(
    columns: Codes, shown: Flags, cells: Cells, memory: Memory, reveal: Visibility
) -> tuple[NDArray[np.generic], ...]:
    """The arrays that revealing takes, but for the memory's own."""
    earlier = np.ones((len(columns), len(columns)), np.float32)
    return (
        columns,
        np.ascontiguousarray(cells.codes[:, columns]),
        np.ascontiguousarray(cells.values[:, columns], np.float32),
        np.tril(earlier) if reveal == "cached" else earlier,
        shown.astype(np.float32),
        memory.shown,
    )


def asked(target: int, memory: Memory, offsets: Codes) -> tuple[NDArray[np.generic], ...]:
    """The arrays that asking takes, but for the memory's own."""
    return np.array([target]), np.arange(offsets[target], offsets[target + 1]), memory.shown
