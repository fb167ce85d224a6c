"""Keys: never modelled, made anew in the same pattern, and no real one.

A cell is a pure function of (seed, row number): rows can be made in any order, by any process.
Keys count on beyond the largest real one, then down below the smallest (numbers, dates and times), or walk the space
of their pattern with a stride that visits every point once (strings), past the stretches of it in which real ones lie.
"""

import base64
import hashlib
import math
import re
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabdar_pipeline.codec.counting import countable, ends, limits, spacing, values

_DIGIT, _LOWER, _UPPER = "\x01", "\x02", "\x03"  # stand for classes in a pattern
_CLASSES = {
    _DIGIT: "0123456789",
    _LOWER: "abcdefghijklmnopqrstuvwxyz",
    _UPPER: "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
}
_UUID = r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\z"
_LEAST = 8  # keys in a stretch: which of them is real, it does not tell
_LENGTHS = 11  # quantiles of lengths that are kept


@dataclass(frozen=True, slots=True)
class IdentifierCodec:
    """How the cells of one key column are made."""

    style: str  # "integer" (counted, of whatever type), "numbered" (in a text), "uuid", "pattern" or "bytes"
    first: int = 0  # integer: the first number beyond the real ones
    last: int = -1  # integer: the last number below the real ones
    step: int = 1  # integer: from one key to the next
    pattern: str = ""  # classes of digits and letters, others as they are
    taken: str = ""  # pattern: a bit for each stretch of its space, set where a real key lies, in base 64
    stretch: int = 0  # keys of a stretch; 0 where the space is not divided
    lengths: tuple[int, ...] = ()  # bytes: quantiles of their lengths
    nulls: float = 0.0  # share of missing cells

    @classmethod
    def fit(cls, column: pa.Array) -> Self:
        """Learn pattern and range of a column; real values are not kept."""
        known = column.drop_null()
        nulls = column.null_count / max(len(column), 1)
        if countable(known.type):
            real, step = ends(known), spacing(known)
            return cls("integer", real.high + step, real.low - step, step, nulls=nulls)
        if pa.types.is_binary(known.type) or pa.types.is_fixed_size_binary(known.type):
            sizes = np.array([len(cell) for cell in known.to_pylist()])
            spread = np.quantile(sizes, np.linspace(0, 1, _LENGTHS), method="nearest")
            return cls("bytes", lengths=tuple(spread.tolist()), nulls=nulls)
        texts = known.cast(pa.string()).to_pylist()
        if are_uuids(known):
            return cls("uuid", pattern=_UPPER if any(map(str.isupper, texts)) else _LOWER, nulls=nulls)
        numbered = _numbered(texts)
        if numbered is not None:
            return cls("numbered", numbered.first, pattern=numbered.pattern, nulls=nulls)
        pattern = _joint(texts)
        taken, stretch = _taken(pattern, texts)
        return cls("pattern", pattern=pattern, taken=taken, stretch=stretch, nulls=nulls)

    def generate(self, start: int, rows: int, seed: int, kind: pa.DataType) -> pa.Array:
        """Cells of rows start..start+rows-1, in the column's type."""
        numbers = range(start, start + rows)
        if self.style == "integer":
            cells: list[Any] = [self._integer(i, kind) for i in numbers]
        elif self.style == "uuid":
            cells = [str(uuid.UUID(bytes=_digest(seed, i)[:16], version=4)) for i in numbers]
            cells = [c.upper() for c in cells] if self.pattern == _UPPER else cells
        elif self.style == "bytes":
            cells = [self._bytes(seed, i) for i in numbers]
        elif self.style == "numbered":
            cells = [self.pattern.replace(_DIGIT, str(self.first + i)) for i in numbers]
        else:
            cells = [self._walk(seed, i) for i in numbers]
        if self.nulls:
            cells = [None if _share(seed, i) < self.nulls else c for i, c in zip(numbers, cells, strict=True)]
        if self.style == "integer":
            return values(cells, kind)
        if pa.types.is_dictionary(kind):
            return pa.array(cells, kind.value_type).cast(kind)
        return pa.array(cells, kind)

    def _bytes(self, seed: int, i: int) -> bytes:
        size = self.lengths[int.from_bytes(_digest(seed, i)[-8:-4], "big") % len(self.lengths)]
        parts = (_digest(seed, i, part) for part in range(size // 32 + 1))
        return b"".join(parts)[:size]

    def _walk(self, seed: int, i: int) -> str:
        """The i-th point of a walk that visits every free text of the pattern once; then with a suffix."""
        free, size = _free(self.taken), self.stretch
        space = len(free) * size if size else _space(self.pattern)
        stride = space // 2 + int.from_bytes(_digest(seed, -1)[:4], "big") % max(space // 3, 1) | 1
        while math.gcd(stride, space) != 1:
            stride += 1
        lap, point = divmod(i, space)
        place = (int.from_bytes(_digest(seed, -2)[:8], "big") + point * stride) % space
        if size:
            place = int(free[place // size]) * size + place % size
        return _text(self.pattern, place) + (f"-{lap}" if lap else "")

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

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"codec": "identifier", **asdict(self)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The codec that `to_json` wrote."""
        facts = {k: v for k, v in record.items() if k != "codec"}
        return cls(**{**facts, "lengths": tuple(facts["lengths"])})


def are_uuids(column: pa.Array) -> bool:
    """Whether each cell that is there is a UUID, in text.

    >>> are_uuids(pa.array(["6f1c1e0e-0d5c-4f43-9a3e-0c4c1d2e3f4a", None]))
    True
    """
    texts = column.drop_null().cast(pa.string())
    return bool(pc.all(pc.match_substring_regex(texts, _UUID, ignore_case=True), min_count=0).as_py())


def _pattern(text: str) -> str:
    """The classes of a text's characters; what is neither letter nor digit stays."""
    return "".join(
        _DIGIT if c.isdigit() else _UPPER if c.isupper() else _LOWER if c.isalpha() else c for c in text
    )


class _Numbered(NamedTuple):
    first: int  # beyond the largest real one
    pattern: str  # with the number as one class


def _numbered(texts: list[str]) -> _Numbered | None:
    """Texts of several lengths that differ by one number without leading zeros: ID-9, ID-10."""
    found = [re.fullmatch(r"(\D*)(0|[1-9]\d*)(\D*)", text, re.ASCII) for text in texts]
    matches = [it for it in found if it is not None]
    if (
        len(matches) < len(texts)
        or len({(it[1], it[3]) for it in matches}) > 1
        or len({*map(len, texts)}) == 1
    ):
        return None
    return _Numbered(max(int(it[2]) for it in matches) + 1, f"{matches[0][1]}{_DIGIT}{matches[0][3]}")


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


def _space(pattern: str) -> int:
    """How many texts there are of a pattern."""
    return math.prod(len(_CLASSES[c]) for c in pattern if c in _CLASSES)


def _text(pattern: str, place: int) -> str:
    """The text at a place of the pattern's space."""
    cells = []
    for c in pattern:
        if c in _CLASSES:
            place, digit = divmod(place, len(_CLASSES[c]))
            cells.append(_CLASSES[c][digit])
        else:
            cells.append(c)
    return "".join(cells)


def _place(pattern: str, text: str) -> int:
    """Where a text lies in the pattern's space; -1 where it is not of the pattern."""
    place, size = 0, 1
    if len(text) != len(pattern):
        return -1
    for c, mine in zip(pattern, text, strict=True):
        if c not in _CLASSES:
            if c != mine:
                return -1
            continue
        digit = _CLASSES[c].find(mine)
        if digit < 0:
            return -1
        place, size = place + size * digit, size * len(_CLASSES[c])
    return place


def _taken(pattern: str, texts: list[str]) -> tuple[str, int]:
    """A bit for each stretch of the space in which a real key lies, and how long stretches are.

    About half of them are free where keys lie at random. Where no stretch is free, the space is not divided.
    """
    space, places = _space(pattern), [it for it in (_place(pattern, text) for text in texts) if it >= 0]
    stretch = max(space // max(math.ceil(len(places) / math.log(2)), 1), 1)
    if stretch < _LEAST:
        stretch = min(_LEAST, space)
    flags = np.zeros(space // stretch, bool)
    here = np.array([it // stretch for it in places], np.int64)
    flags[here[here < len(flags)]] = True
    if flags.all():
        return "", 0
    padded = np.r_[flags, np.ones(-len(flags) % 8, bool)]
    return base64.b64encode(np.packbits(padded).tobytes()).decode(), stretch


@lru_cache(maxsize=64)
def _free(taken: str) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """The stretches in which no real key lies."""
    flags = np.unpackbits(np.frombuffer(base64.b64decode(taken), np.uint8)).astype(bool)
    return np.flatnonzero(~flags)


def _digest(seed: int, i: int, part: int = 0) -> bytes:
    text = f"{seed}:{i}:{part}" if part else f"{seed}:{i}"
    return hashlib.blake2b(text.encode(), digest_size=32).digest()


def _share(seed: int, i: int) -> float:
    return int.from_bytes(_digest(seed, i)[-4:], "big") / 2**32
