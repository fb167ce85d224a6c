"""Random numbers as a function of (seed, row block): counter-based, so that block b is block b.

Whichever process, engine or machine draws a block, in whatever order, its rows are the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where rows lie in the endless table of a seed: what lies apart shares neither keys nor noise."""

    row: int = 0  # keys and texts count from here
    block: int = 0  # noise is drawn from here

    def seed(self, seed: int) -> int | tuple[int, int]:
        """Of what is drawn for all rows together: in another place it is another."""
        return (seed, self.block) if self.block else seed


START = Place()


@dataclass(frozen=True, slots=True)
class Draws:
    """All the randomness of one block of rows."""

    order: tuple[int, ...]  # in which columns are revealed
    uniform: NDArray[np.float32]  # (B, C) picks codes
    normal: NDArray[np.float32]  # (B, C) starts the diffusion

    @classmethod
    def of(cls, seed: int, block: int, columns: int, rows: int = BLOCK_ROWS, stream: int = 0) -> Self:
        """The draws of one block; another stream of the same block has others.

        >>> a, b = Draws.of(7, 3, 5), Draws.of(7, 3, 5)
        >>> bool((a.normal == b.normal).all()) and a.order == b.order
        True
        """
        rng = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, stream, block]))
        order = tuple(int(c) for c in rng.permutation(columns))
        uniform = rng.random((rows, columns), dtype=np.float32)
        normal = rng.standard_normal((rows, columns), dtype=np.float32)
        return cls(order, uniform, normal)

    def beginning(self, columns: Iterable[int]) -> Self:
        """The same, with these columns first in the order."""
        first = tuple(columns)
        return replace(self, order=first + tuple(c for c in self.order if c not in first))

    @classmethod
    def of_rows(cls, seed: int, rows: NDArray[np.uint64], order: tuple[int, ...]) -> Self:
        """Draws that depend on a row's own content (its hash), not on the rows beside it."""
        columns = np.arange(len(order), dtype=np.uint64)
        key = rows[:, None] ^ _mix(columns * np.uint64(2) + np.uint64(seed) * np.uint64(0x9E37))
        first, second = (_unit(_mix(key + np.uint64(salt))) for salt in (1, 2))
        normal = np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)  # Box and Muller 1958
        uniform = _unit(_mix(key + np.uint64(3)))
        return cls(order, uniform.astype(np.float32), normal.astype(np.float32))


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): scatters nearby keys."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _unit(x: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Bits to the open unit interval."""
    return ((x >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
