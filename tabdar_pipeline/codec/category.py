"""Categories as codes: a vocabulary of the levels that enough rows share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CategoryCodec:
    """Codes 0..K-1 are the levels, most frequent first, NULL last where it was seen.

    A level that fewer than `shared` rows have is no part of the vocabulary: it would point at a
    person. Its cells are unknown (code -1), as are levels never seen.
    """

    vocabulary: tuple[str, ...]
    missing: bool

    @classmethod
    def fit(cls, column: pa.Array, shared: int) -> Self:
        """Learn the vocabulary; where no level is shared by so many, the most shared ones stay."""
        counted = column.drop_null().value_counts()
        levels = _text(counted.field("values")).to_pylist()
        counts = counted.field("counts").to_pylist()
        least = min(shared, max(counts, default=0))
        kept = [(-n, level) for level, n in zip(levels, counts, strict=True) if n >= least]
        return cls(tuple(level for _, level in sorted(kept)), column.null_count > 0)

    @property
    def levels(self) -> int:
        """K, the number of codes."""
        return len(self.vocabulary) + self.missing

    def encode(self, column: pa.Array) -> Codes:
        """Codes (N,); -1 where the level is not in the vocabulary."""
        known = pa.array(self.vocabulary, pa.large_string())
        codes = pc.index_in(_text(column), value_set=known).fill_null(-1)
        codes = np.asarray(codes.to_numpy(zero_copy_only=False)).astype(np.int64)
        if self.missing:
            codes[np.asarray(column.is_null().to_numpy(zero_copy_only=False))] = self.levels - 1
        return codes

    def unseen(self, known: pa.Array) -> int:
        """How many of these cells, none of them missing, have a level that is not in the vocabulary."""
        return int((self.encode(known) < 0).sum())

    def decode(self, codes: Codes, kind: pa.DataType) -> pa.Array:
        """The column of these codes, in its own type."""
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        levels = pa.array([*self.vocabulary, *[None] * self.missing], pa.large_string())
        column = levels.cast(plain).take(pa.array(codes))
        return column.cast(kind) if plain != kind else column

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"codec": "category", "vocabulary": list(self.vocabulary), "missing": self.missing}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The codec that `to_json` wrote."""
        return cls(tuple(record["vocabulary"]), record["missing"])


def _text(column: pa.Array) -> pa.Array:
    """Any category as text, so that one vocabulary serves strings, booleans and codes."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.large_string())
