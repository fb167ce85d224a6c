"""Keys and values of the columns that were revealed, in arrays that grow but are not copied.

B rows, N columns revealed now, T places, L blocks, H heads, D = E / H width of a head.
"""

from typing import Any

import numpy as np

ROOM = 16  # places to begin with; doubled when they are full
HIDDEN = -1e9  # added to the score of a place that is not filled


class Memory:
    """What one block of rows has revealed. Arrays are numpy's or torch's: `zeros` makes them."""

    def __init__(self, blocks: int, rows: int, heads: int, width: int, zeros: Any = None) -> None:
        self.zeros = zeros or (lambda *shape: np.zeros(shape, np.float32))
        self.filled, self.places = 0, ROOM
        self.shape = (rows, heads, width)
        self.arrays = [self._array(ROOM) for _ in range(2 * blocks)]  # keys, values, keys, ...

    def _array(self, places: int) -> Any:
        """(B, H, T, D)."""
        rows, heads, width = self.shape
        return self.zeros(rows, heads, places, width)

    def hidden(self) -> Any:
        """(T,) added to scores."""
        hidden = self.zeros(self.places)
        hidden[self.filled :] = HIDDEN
        return hidden

    def add(self, fresh: Any) -> None:
        """Keep keys and values (2 L, B, H, N, D) of the columns revealed now."""
        new = fresh.shape[3]
        while self.filled + new > self.places:
            self._grow()
        for array, added in zip(self.arrays, fresh, strict=True):
            array[:, :, self.filled : self.filled + new] = added
        self.filled += new

    def _grow(self) -> None:
        wider = [self._array(2 * self.places) for _ in self.arrays]
        for array, grown in zip(self.arrays, wider, strict=True):
            grown[:, :, : self.places] = array
        self.arrays, self.places = wider, 2 * self.places
