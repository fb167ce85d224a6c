"""The values of a type as whole numbers, one apart from the next: what keys are counted in.

A decimal counts in its last digit, a date in days, a time in its unit, a float in ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

_DAY_S = 86_400
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # of the years 1 and 9999, since 1970
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True, slots=True)
class Ends:
    """The least and the greatest of some whole numbers."""

    low: int
    high: int


def countable(kind: pa.DataType) -> bool:
    """Whether values of this type can be counted.

    >>> countable(pa.decimal128(38, 0)), countable(pa.string())
    (True, False)
    """
    return (
        pa.types.is_integer(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_date(kind)
        or pa.types.is_time(kind)
        or pa.types.is_timestamp(kind)
    )


def ends(column: pa.Array) -> Ends:
    """The ends of a column's values; NaN and infinities are none."""
    if pa.types.is_floating(column.type):
        column = column.filter(pc.is_finite(column))
    low, high = (_number(column.type, it) for it in pc.min_max(column).values())
    return Ends(low, high)


def spacing(column: pa.Array) -> int:
    """What all values are apart, as far as they have it in common: whole numbers in ones, midnights in days.

    >>> spacing(pa.array([86_400, 0, 259_200], pa.timestamp("s")))
    86400
    """
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return 1
    first, *others = (_number(column.type, it) for it in column)
    return math.gcd(*(it - first for it in others)) or 1


def limits(kind: pa.DataType) -> Ends:
    """The ends of all values of a type; of times those that a calendar has.

    >>> limits(pa.int8())
    Ends(low=-128, high=127)
    >>> limits(pa.decimal128(3, 1)).high
    999
    """
    if pa.types.is_decimal(kind):
        return Ends(1 - 10**kind.precision, 10**kind.precision - 1)
    if pa.types.is_floating(kind):
        whole = 2 ** {16: 11, 32: 24, 64: 53}[kind.bit_width]  # beyond it, floats are more than one apart
        return Ends(-whole, whole)
    if pa.types.is_date32(kind):
        return Ends(_FIRST_DAY, _LAST_DAY)
    if pa.types.is_time(kind):
        return Ends(0, _DAY_S * _PER_SECOND[kind.unit] - 1)
    width = kind.bit_width - (not pa.types.is_unsigned_integer(kind))
    whole = Ends(0 if pa.types.is_unsigned_integer(kind) else -(2**width), 2**width - 1)
    if pa.types.is_integer(kind):
        return whole
    unit = _DAY_S * _PER_SECOND["ms" if pa.types.is_date64(kind) else kind.unit]
    return Ends(max(whole.low, _FIRST_DAY * unit), min(whole.high, (_LAST_DAY + 1) * unit - 1))


def values(numbers: Sequence[int | None], kind: pa.DataType) -> pa.Array:
    """Whole numbers as values of a type.

    >>> values([12, None], pa.decimal128(5, 1)).to_pylist()
    [Decimal('1.2'), None]
    """
    if pa.types.is_decimal(kind):
        return pa.array([None if i is None else Decimal(i).scaleb(-kind.scale) for i in numbers], kind)
    if pa.types.is_floating(kind):
        return pa.array([None if i is None else float(i) for i in numbers], pa.float64()).cast(kind)
    if pa.types.is_integer(kind):
        return pa.array(numbers, kind)
    return pa.array(numbers, pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)


def _number(kind: pa.DataType, value: pa.Scalar) -> int:
    if pa.types.is_decimal(kind):
        return int(value.as_py().scaleb(kind.scale))
    if pa.types.is_floating(kind):
        return int(value.as_py() // 1)
    if pa.types.is_integer(kind):
        return int(value.as_py())
    return int(value.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).as_py())
