"""A number for each row, from what is in it alone: where it is split to, and what is drawn for it."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_NULL = np.uint64(0x9E3779B97F4A7C15)  # of a cell that is missing
_KEY = "0123456789123456"


def row_hashes(table: pa.Table, key: str = _KEY) -> Hashes:
    """(N,) of each row's values in the order of the columns, whatever the other rows hold.

    A NULL in another row changes nothing: each column is hashed in its own type, and only where it has a value.

    >>> with_null, without = (pa.table({"n": pa.array(n, pa.int64())}) for n in ([1, None], [1, 2]))
    >>> bool(row_hashes(with_null)[0] == row_hashes(without)[0])
    True
    """
    found = np.full(len(table), 0x345678, np.uint64)
    step = np.uint64(1000003)
    for place, column in enumerate(table.columns):  # as Python hashed tuples: splits made before stay
        found = (found ^ _hashes(column, key)) * step
        step += np.uint64(82520 + 2 * (table.num_columns - place))
    return found + np.uint64(97531)


def _hashes(column: pa.ChunkedArray, key: str) -> Hashes:
    """(N,) of one column's cells."""
    from pandas.util import hash_pandas_object

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    known: Any = column.drop_null().to_pandas()
    hashes = np.full(len(column), _NULL, np.uint64)
    hashes[np.asarray(column.is_valid())] = hash_pandas_object(known, index=False, hash_key=key)
    return hashes
