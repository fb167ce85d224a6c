"""A column with one value, or none: reproduced."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class ConstantCodec:
    """The one value, as text; None where every cell is missing."""

    value: str | None

    @classmethod
    def fit(cls, column: pa.Array) -> Self:
        """Learn the value."""
        known = column.drop_null()
        if not len(known):
            return cls(None)
        first = known.slice(0, 1)
        if pa.types.is_dictionary(first.type):
            first = first.dictionary_decode()
        return cls(first.cast(pa.string())[0].as_py())

    def generate(self, start: int, rows: int, seed: int, kind: pa.DataType) -> pa.Array:
        """The value in every row; start and seed do not matter."""
        del start, seed
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        column = pa.array([self.value], pa.string()).cast(plain).take(pa.array([0] * rows, pa.int64()))
        return column.cast(kind) if plain != kind else column

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"codec": "constant", "value": self.value}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The codec that `to_json` wrote."""
        return cls(record["value"])
