"""A share of the rows that no model sees, chosen by what is in them."""

from dataclasses import dataclass

import pyarrow as pa

from tabdar_pipeline.schemas.rowhash import row_hashes


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to learn from, and rows to compare with."""

    train: pa.Table
    holdout: pa.Table


def split(table: pa.Table, share: float = 0.2, salt: int = 0) -> Split:
    """Split by a stable hash of each row: equal rows fall on one side, whatever their order.

    A table so small that one side would stay empty gives at least one row to each.
    """
    place = row_hashes(table, key=f"{salt:016d}") / 2.0**64
    held = place < share
    if held.all() or not held.any():
        held = place == place.min() if not held.any() else place != place.max()
    return Split(table.filter(pa.array(~held)), table.filter(pa.array(held)))
