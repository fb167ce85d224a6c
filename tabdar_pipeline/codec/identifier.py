"""Keys and free texts: never modelled, made anew in the same pattern.

A cell is a pure function of (seed, row number): rows can be made in any order, by any process.
Keys count on beyond the largest real one, then down below the smallest (numbers, dates and times), or walk the space
of their pattern with a stride that visits every point once (strings).
A made-up key of a small pattern space may coincide with a real one: it stands for another row.
"""

import hashlib
import math
import re
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from tabdar_pipeline.codec.counting import countable, ends, limits, spacing, values

_DIGIT, _LOWER, _UPPER = "\x01", "\x02", "\x03"  # stand for classes in a pattern
_CLASSES = {
    _DIGIT: "0123456789",
    _LOWER: "abcdefghijklmnopqrstuvwxyz",
    _UPPER: "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PATTERNS = 64  # of a text column, the most frequent ones


@dataclass(frozen=True, slots=True)
class IdentifierCodec:
    """How the cells of one key or text column are made."""

    style: str  # "integer" (counted, of whatever type), "uuid", "pattern" or "bytes"
    first: int = 0  # integer: the first number beyond the real ones
    last: int = -1  # integer: the last number below the real ones
    step: int = 1  # integer: from one key to the next
    patterns: tuple[str, ...] = ()  # classes of digits and letters, others as they are
    weights: tuple[float, ...] = ()
    unique: bool = True
    nulls: float = 0.0  # share of missing cells

    @classmethod
    def fit(cls, column: pa.Array, *, unique: bool) -> Self:
        """Learn pattern and range of a column; real values are not kept."""
        known = column.drop_null()
        nulls = column.null_count / max(len(column), 1)
        if countable(known.type):
            real, step = ends(known), spacing(known)
            first, last = real.high + step, real.low - step
            return cls("integer", first=first, last=last, step=step, unique=unique, nulls=nulls)
        if pa.types.is_binary(known.type) or pa.types.is_fixed_size_binary(known.type):
            return cls("bytes", first=16, unique=unique, nulls=nulls)
        texts = known.cast(pa.string()).to_pylist()
        if all(_UUID.fullmatch(text) for text in texts[:1000]):
            return cls("uuid", unique=unique, nulls=nulls)
        if unique:
            return cls("pattern", patterns=(_joint(texts),), weights=(1.0,), nulls=nulls)
        common = Counter(_pattern(text) for text in texts).most_common(_PATTERNS)
        total = sum(n for _, n in common)
        return cls(
            "pattern",
            patterns=tuple(p for p, _ in common),
            weights=tuple(n / total for _, n in common),
            unique=False,
            nulls=nulls,
        )

    def generate(self, start: int, rows: int, seed: int, kind: pa.DataType) -> pa.Array:
        """Cells of rows start..start+rows-1, in the column's type."""
        numbers = range(start, start + rows)
        if self.style == "integer":
            cells: list[Any] = [self._integer(i, kind) for i in numbers]
        elif self.style == "uuid":
            cells = [str(uuid.UUID(bytes=_digest(seed, i)[:16], version=4)) for i in numbers]
        elif self.style == "bytes":
            cells = [_digest(seed, i)[: self.first] for i in numbers]
        elif self.unique:
            cells = [_walk(self.patterns[0], seed, i) for i in numbers]
        else:
            shares = np.cumsum(self.weights)
            cells = [self._text(_digest(seed, i), shares) for i in numbers]
        if self.nulls:
            cells = [None if _share(seed, i) < self.nulls else c for i, c in zip(numbers, cells, strict=True)]
        if self.style == "integer":
            return values(cells, kind)
        if pa.types.is_dictionary(kind):
            return pa.array(cells, kind.value_type).cast(kind)
        return pa.array(cells, kind)

    def room(self, kind: pa.DataType) -> float:
        """How many different cells there are."""
        if self.style != "integer":
            return math.inf
        return self._above(kind) + max((self.last - limits(kind).low) // self.step + 1, 0)

    def _integer(self, i: int, kind: pa.DataType) -> int:
        """Up from the largest real one, then down from the smallest; again from the start beyond all room."""
        i %= max(int(self.room(kind)), 1)
        above = self._above(kind)
        return self.first + self.step * i if i < above else self.last - self.step * (i - above)

    def _above(self, kind: pa.DataType) -> int:
        """How many numbers there are beyond the real ones."""
        return max((limits(kind).high - self.first) // self.step + 1, 0)

    def _text(self, digest: bytes, shares: Any) -> str:
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        pattern = self.patterns[min(int(np.searchsorted(shares, rng.random())), len(shares) - 1)]
        return "".join(_CLASSES[c][rng.integers(len(_CLASSES[c]))] if c in _CLASSES else c for c in pattern)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"codec": "identifier", **asdict(self)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The codec that `to_json` wrote."""
        facts = {k: v for k, v in record.items() if k != "codec"}
        return cls(**{**facts, "patterns": tuple(facts["patterns"]), "weights": tuple(facts["weights"])})


def _pattern(text: str) -> str:
    """The classes of a text's characters; what is neither letter nor digit stays."""
    return "".join(
        _DIGIT if c.isdigit() else _UPPER if c.isupper() else _LOWER if c.isalpha() else c for c in text
    )


def _joint(texts: list[str]) -> str:
    """One pattern for all keys: letters that never change stay, digits and the others become classes."""
    length = Counter(map(len, texts)).most_common(1)[0][0]
    alike = [text for text in texts if len(text) == length]
    columns = zip(*alike, strict=True)
    return "".join(
        chars[0] if len(set(chars)) == 1 and not chars[0].isdigit() else _widest(chars) for chars in columns
    )


def _widest(chars: tuple[str, ...]) -> str:
    classes = Counter(_pattern(c) for c in chars)
    return classes.most_common(1)[0][0]


def _walk(pattern: str, seed: int, i: int) -> str:
    """The i-th point of a walk that visits every text of the pattern once; then with a suffix."""
    sizes = [len(_CLASSES[c]) for c in pattern if c in _CLASSES]
    space = math.prod(sizes) or 1
    stride = space // 2 + int.from_bytes(_digest(seed, -1)[:4], "big") % max(space // 3, 1) | 1
    while math.gcd(stride, space) != 1:
        stride += 1
    lap, point = divmod(i, space)
    place = (int.from_bytes(_digest(seed, -2)[:8], "big") + point * stride) % space
    cells = []
    for c in pattern:
        if c in _CLASSES:
            place, digit = divmod(place, len(_CLASSES[c]))
            cells.append(_CLASSES[c][digit])
        else:
            cells.append(c)
    return "".join(cells) + (f"-{lap}" if lap else "")


def _digest(seed: int, i: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{i}".encode(), digest_size=32).digest()


def _share(seed: int, i: int) -> float:
    return int.from_bytes(_digest(seed, i)[-4:], "big") / 2**32
