"""Random numbers of one cell: a stream that is a function of the seed and the row number."""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

_WORDS = 8  # of 64 bits in a digest


@dataclass(slots=True)
class Chance:
    """64 bits at a time, as many as are asked for."""

    key: str
    used: int = 0
    digest: bytes = b""

    @classmethod
    def of(cls, seed: int, row: int) -> Self:
        """The stream of a row.

        >>> Chance.of(7, 3).below(100) == Chance.of(7, 3).below(100)
        True
        """
        return cls(f"{seed}:{row}")

    def word(self) -> int:
        """The next 64 bits."""
        if self.used % _WORDS == 0:
            self.digest = hashlib.blake2b(f"{self.key}:{self.used}".encode(), digest_size=64).digest()
        place = 8 * (self.used % _WORDS)
        self.used += 1
        return int.from_bytes(self.digest[place : place + 8], "big")

    def below(self, many: int) -> int:
        """A whole number from 0 to many - 1."""
        wide = self.word()
        for _ in range((many.bit_length() + 7) // 64):  # a few bits more than it needs, or it is not even
            wide = wide << 64 | self.word()
        return wide % many

    def share(self) -> float:
        """A number from 0 to 1."""
        return self.word() / 2**64

    def weighted(self, ends: Sequence[int]) -> int:
        """Which of several, by weight; ends: their running sum."""
        return bisect_right(ends, self.below(ends[-1]))
