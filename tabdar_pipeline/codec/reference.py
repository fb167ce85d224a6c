"""A foreign key: rows share values as rows of the source do, as many a value.

A cell is a pure function of (seed, row number). Its value stands for a row of the other table and is no real one:
warehouse/references.py puts a key of the released other table in its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline.codec.identifier import IdentifierCodec

SHARED = 5  # values that must have about as many rows each, before so many rows are learned


@dataclass(frozen=True, slots=True)
class ReferenceCodec:
    """How many rows share a value, and what the values look like."""

    rows: tuple[int, ...]  # that share a value
    values: tuple[int, ...]  # how many values have so many
    nulls: int  # rows that refer to nothing
    keys: IdentifierCodec

    @classmethod
    def fit(cls, column: pa.Array) -> Self:
        """Learn the counts of a column; no value is kept."""
        known = column.drop_null()
        plain = known.dictionary_decode() if pa.types.is_dictionary(known.type) else known
        counts = plain.value_counts()
        rows, values = _pooled(np.sort(counts.field("counts").to_numpy()))
        return cls(rows, values, column.null_count, IdentifierCodec.fit(counts.field("values")))

    def generate(self, start: int, rows: int, seed: int, kind: pa.DataType) -> pa.Array:
        """Cells of rows start..start+rows-1, in the column's type; rows that share a value lie together."""
        if not rows:
            return pa.array([], kind)
        ahead = np.arange(start, start + rows)
        every = int(np.dot(self.rows, self.values)) + self.nulls
        numbers, empty = np.zeros(rows, np.int64), np.zeros(rows, bool)
        for lap in np.unique(ahead // every):
            here = ahead // every == lap
            order = _order(self.rows, self.values, self.nulls, seed, int(lap))
            place = np.searchsorted(order.ends, ahead[here] % every, side="right")
            numbers[here] = order.numbers[place] + int(lap) * sum(self.values)
            empty[here] = order.empty[place]
        first = int(numbers.min())
        made = self.keys.generate(first, int(numbers.max()) - first + 1, seed, kind)
        return made.take(pa.array(numbers - first, mask=empty))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "codec": "reference",
            "rows": list(self.rows),
            "values": list(self.values),
            "nulls": self.nulls,
            "keys": self.keys.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The codec that `to_json` wrote."""
        keys = IdentifierCodec.from_json(record["keys"])
        return cls(tuple(record["rows"]), tuple(record["values"]), record["nulls"], keys)


@dataclass(frozen=True, slots=True)
class _Order:
    """Values of one lap through the source's counts, in the order in which rows have them."""

    ends: NDArray[np.int64]  # the row after the last one of each
    numbers: NDArray[np.int64]  # of the values
    empty: NDArray[np.bool_]  # no value, but a row that refers to nothing


@lru_cache(maxsize=8)
def _order(rows: tuple[int, ...], values: tuple[int, ...], nulls: int, seed: int, lap: int) -> _Order:
    counts = np.concatenate([np.repeat(rows, values), np.zeros(nulls, np.int64)])
    np.random.Generator(np.random.Philox(key=seed, counter=lap)).shuffle(counts)
    empty = counts == 0
    return _Order(np.cumsum(np.maximum(counts, 1)), np.maximum(np.cumsum(~empty) - 1, 0), empty)


def _pooled(counts: NDArray[np.int64]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows a value, and how many values have them: of counts in order, their mean where few values share one."""
    pools: list[NDArray[np.int64]] = []
    for same in np.split(counts, np.flatnonzero(np.diff(counts)) + 1):
        if pools and len(pools[-1]) < SHARED:
            pools[-1] = np.concatenate([pools[-1], same])
        else:
            pools.append(same)
    if len(pools) > 1 and len(pools[-1]) < SHARED:
        last = pools.pop()
        pools[-1] = np.concatenate([pools[-1], last])
    return tuple(max(round(it.mean()), 1) for it in pools), tuple(len(it) for it in pools)
