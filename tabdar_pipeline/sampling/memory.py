"""Keys and values of the columns that were revealed, in arrays that grow but are not copied.

B rows (or states that rows share), N columns revealed now, T places, L blocks, H heads of keys and values, D width of a head.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]

ROOM = 16  # a row of a table of usual width: its memory then never grows


class Memory:
    """What one block of rows has revealed. Arrays are numpy's or torch's: `zeros` makes them."""

    def __init__(self, blocks: int, rows: int, heads: int, width: int, zeros: Any = None) -> None:
        self.zeros = zeros or (lambda *shape: np.zeros(shape, np.float32))
        self.rows, self.filled, self.places = rows, 0, ROOM
        self.shape = (rows, heads, width)
        self.whole = [self._array(ROOM) for _ in range(2 * blocks)]  # keys, values, keys, ...
        self.first = self.whole
        self.flags = np.zeros((rows, ROOM), np.float32)

    @property
    def arrays(self) -> list[Any]:
        """Keys, values, keys, ... (B, H, T, D) of each block."""
        return [array[: self.rows] for array in self.whole]

    @property
    def shown(self) -> NDArray[np.float32]:
        """(B, T) 1 where a row shows a place, else 0."""
        return self.flags[: self.rows]

    def _array(self, places: int) -> Any:
        """(B, H, T, D)."""
        rows, heads, width = self.shape
        return self.zeros(rows, heads, places, width)

    def add(self, fresh: Sequence[Any], shown: Flags) -> None:
        """Keep 2 L keys and values (B, H, N, D) of the columns revealed now, in the rows that show them."""
        new = shown.shape[1]
        while self.filled + new > self.places:
            self._grow()
        here = slice(self.filled, self.filled + new)
        for array, added in zip(self.arrays, fresh, strict=True):
            array[:, :, here] = added
        self.shown[:, here] = shown
        self.filled += new

    def take(self, rows: NDArray[np.int64]) -> None:
        """Go on with these rows, each as often as it is named; no more than the memory was made for."""
        here = slice(0, self.filled)
        for array in self.whole:
            array[: len(rows), :, here] = array[rows, :, here]
        self.flags[: len(rows)] = self.flags[rows]
        self.rows = len(rows)

    def clear(self) -> None:
        """Forget all, and what it grew to: the next block is drawn as if this were new."""
        self.whole, self.filled, self.places = self.first, 0, ROOM
        self.rows = self.shape[0]
        self.flags = np.zeros((self.rows, ROOM), np.float32)

    def _grow(self) -> None:
        wider = [self._array(self.places + ROOM) for _ in self.whole]
        for array, grown in zip(self.whole, wider, strict=True):
            grown[:, :, : self.places] = array
        self.flags = np.pad(self.flags, ((0, 0), (0, ROOM)))
        self.whole, self.places = wider, self.places + ROOM


class Shelf:
    """Memories of blocks that are done, for blocks to come: fresh pages cost more than what is written there.

    Any thread may borrow. Memories of other sizes than `rows` are rare, and not kept.
    """

    def __init__(self, make: Callable[[int], Memory], rows: int) -> None:
        self.make, self.rows, self.idle = make, rows, list[Memory]()

    @contextmanager
    def lend(self, rows: int) -> Iterator[Memory]:
        """A memory of so many rows of which nothing was revealed."""
        if rows != self.rows:
            yield self.make(rows)
            return
        try:
            memory = self.idle.pop()
        except IndexError:
            memory = self.make(rows)
        try:
            yield memory
        finally:
            memory.clear()
            self.idle.append(memory)
