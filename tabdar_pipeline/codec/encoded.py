"""Encoded rows, as small as their codes allow; large ones lie in files that the system may drop from memory.

N rows, C modelled columns.
"""

import math
import os
import tempfile
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

IN_MEMORY = 2**28  # bytes of an array that is no file


@dataclass(frozen=True, slots=True)
class EncodedTable:
    """What the network learns from: codes, residuals, and which cells are known."""

    codes: NDArray[np.signedinteger]  # (N, C), 0 where unknown
    values: NDArray[np.float32]  # (N, C) residuals, 0 where a code has none
    known: NDArray[np.bool_]  # (N, C)

    def __len__(self) -> int:
        """N, the number of rows."""
        return len(self.codes)

    @classmethod
    def empty(cls, rows: int, levels: list[int]) -> Self:
        """Room for so many rows, of columns with so many codes each.

        >>> EncodedTable.empty(3, [7, 40_000]).codes.dtype
        dtype('int32')
        """
        shape = rows, len(levels)
        small = max(levels, default=0) <= np.iinfo(np.int16).max
        return cls(
            room(shape, np.int16 if small else np.int32), room(shape, np.float32), room(shape, np.bool_)
        )

    def take(self, rows: NDArray[np.int64]) -> "EncodedTable":
        """These rows."""
        return EncodedTable(*(_take(array, rows) for array in (self.codes, self.values, self.known)))


def room(shape: tuple[int, ...], kind: DTypeLike, most: int = IN_MEMORY) -> NDArray[Any]:
    """An array yet to be filled: in memory, or mapped from a file without a name that goes when it does.

    The file lies where TMPDIR says. Where the disk has no room for it, the array is in memory, too.
    """
    size = math.prod(shape) * np.dtype(kind).itemsize
    if size > most and hasattr(os, "posix_fallocate"):
        with tempfile.TemporaryFile(prefix="tabdar-") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)  # a disk that fills up later would be a crash
            except OSError:
                return np.empty(shape, kind)
            return np.memmap(file, kind, "r+", shape=shape)
    return np.empty(shape, kind)


def _take(array: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    found = room((len(rows), *array.shape[1:]), array.dtype)
    return np.take(
        array, rows, axis=0, out=found, mode="clip"
    )  # with "raise" it would be held in memory, too
