"""Keys and values of the columns that were revealed, in arrays that grow but are not copied.

B rows, N columns revealed now, T places, L blocks, H heads, D = E / H width of a head.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]

ROOM = 4
HIDDEN = np.float32(-1e9)  # added to the score of a place that a row does not show


def hidden(shown: Flags) -> NDArray[np.float32]:
    """What is added to scores: 0 where a row shows a place, HIDDEN elsewhere."""
    return np.where(shown, np.float32(0), HIDDEN)


class Memory:
    """What one block of rows has revealed. Arrays are numpy's or torch's: `zeros` makes them."""

    def __init__(self, blocks: int, rows: int, heads: int, width: int, zeros: Any = None) -> None:
        self.zeros = zeros or (lambda *shape: np.zeros(shape, np.float32))
        self.filled, self.places = 0, ROOM
        self.shape = (rows, heads, width)
        self.arrays = [self._array(ROOM) for _ in range(2 * blocks)]  # keys, values, keys, ...
        self.shown: Flags = np.zeros((rows, ROOM), bool)  # (B, T)

    def _array(self, places: int) -> Any:
        """(B, H, T, D)."""
        rows, heads, width = self.shape
        return self.zeros(rows, heads, places, width)

    def add(self, fresh: Any, shown: Flags) -> None:
        """Keep keys and values (2 L, B, H, N, D) of the columns revealed now, in the rows that show them."""
        new = fresh.shape[3]
        while self.filled + new > self.places:
            self._grow()
        here = slice(self.filled, self.filled + new)
        for array, added in zip(self.arrays, fresh, strict=True):
            array[:, :, here] = added
        self.shown[:, here] = shown
        self.filled += new

    def _grow(self) -> None:
        wider = [self._array(self.places + ROOM) for _ in self.arrays]
        for array, grown in zip(self.arrays, wider, strict=True):
            grown[:, :, : self.places] = array
        self.shown = np.pad(self.shown, ((0, 0), (0, ROOM)))
        self.arrays, self.places = wider, self.places + ROOM
