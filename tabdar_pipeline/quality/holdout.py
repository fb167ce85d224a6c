"""A share of the rows that no model sees, chosen by what is in them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to learn from, and rows to compare with."""

    train: pa.Table
    holdout: pa.Table


def split(table: pa.Table, share: float = 0.2, salt: int = 0) -> Split:
    """Split by a stable hash of each row: equal rows fall on one side, whatever their order.

    A table so small that one side would stay empty gives at least one row to each.
    """
    from pandas.util import hash_pandas_object

    hashes = hash_pandas_object(table.to_pandas(), index=False, hash_key=f"{salt:016d}")
    place = hashes.to_numpy(np.uint64) / 2.0**64
    held = place < share
    if held.all() or not held.any():
        held = place == place.min() if not held.any() else place != place.max()
    return Split(table.filter(pa.array(~held)), table.filter(pa.array(held)))
