"""Which texts are not among those of a column, without keeping any of them: one hash, half of the bits set.

Of texts that are in the column the sieve always says that they may be; of others, of every second one. So it gives next to
nothing away, and what is made anew and passes it is no real value.
"""

import base64
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

_BITS = 1 / math.log(2)  # a text: half of them are set then


@dataclass(frozen=True, slots=True)
class Sieve:
    """A bit for each hash."""

    bits: bytes

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """The sieve of a column."""
        found = np.unique(np.fromiter((_hash(text) for text in texts), np.uint64))
        size = 8 * max(math.ceil(len(found) * _BITS / 8), 1)
        flags = np.zeros(size, bool)
        flags[found % np.uint64(size)] = True
        return cls(np.packbits(flags).tobytes())

    def passes(self, text: str) -> bool:
        """Whether the column surely lacks this text.

        >>> Sieve.of(["a", "b"]).passes("a")
        False
        """
        place = _hash(text) % (8 * len(self.bits))
        return not self.bits[place // 8] >> (7 - place % 8) & 1

    def to_json(self) -> dict[str, str]:
        """Plain values."""
        return {"bits": base64.b64encode(self.bits).decode()}

    @classmethod
    def from_json(cls, record: dict[str, str]) -> Self:
        """The sieve that `to_json` wrote."""
        return cls(base64.b64decode(record["bits"]))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
