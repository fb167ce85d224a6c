"""What a codec keeps back of its column: how many rows must share a value, and how many cells do not."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from tabdar_pipeline.codec.category import CategoryCodec
from tabdar_pipeline.codec.number import NumberCodec, NumberSettings
from tabdar_pipeline.schemas.columns import Column

EXTRA = 2  # rows above the threshold at most: who knows it does not know how many rows have a value


@dataclass(frozen=True, slots=True)
class Protection:
    """Counts, never values."""

    rows: int  # that must share a value; 1 where the column is public
    levels: int = 0  # of a category: fewer rows share them, so they are not learned
    cells: int = 0  # of these levels
    clipped: int = 0  # numbers beyond the mean of the outermost rows

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def guarded(column: Column, settings: NumberSettings, rng: np.random.Generator | None) -> NumberSettings:
    """The settings of one column: 0 to 2 rows above its threshold, at random, where `rng` is given."""
    extra = int(rng.integers(EXTRA + 1)) if rng is not None else 0
    shared = 1 if column.privacy == "public" else (column.rare or settings.shared) + extra
    return replace(settings, shared=shared)


def protection(codec: NumberCodec | CategoryCodec, known: pa.Array, rows: int) -> Protection:
    """What this codec, fitted to these cells of which none is missing, keeps back."""
    cells = codec.unseen(known)
    if isinstance(codec, NumberCodec):
        return Protection(rows, clipped=cells)
    return Protection(rows, levels=len(known.unique()) - len(codec.vocabulary), cells=cells)
