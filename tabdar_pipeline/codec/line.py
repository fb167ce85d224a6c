"""How a column of numbers or times lies on a line of ticks, and back without a digit lost.

Whole numbers, decimals, dates and times are integers of some unit; floats are integers of a power
of ten where all of them are. The greatest common divisor is the grid: a step of 0.05, whole
hundreds, days at midnight. Floats on no grid are their own ticks.
"""

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline.schemas.types import from_text

Floats = NDArray[np.float64]
_DIGITS = 7  # of a float's fraction that may form a grid


@dataclass(frozen=True, slots=True)
class Line:
    """value = (origin + step * tick) / 10 ** digits; without a grid, value = tick."""

    grid: bool
    origin: int = 0
    step: int = 1
    digits: int = 0

    @classmethod
    def fit(cls, column: pa.Array) -> Self:
        """The coarsest grid on which every finite value lies."""
        if pa.types.is_floating(column.type):
            return cls._fit_floats(_floats(column))
        whole = _integers(column)
        origin = int(whole.min()) if len(whole) else 0
        step = int(np.gcd.reduce(whole - origin)) if len(whole) else 1
        return cls(grid=True, origin=origin, step=max(step, 1), digits=_scale(column.type))

    @classmethod
    def _fit_floats(cls, values: Floats) -> Self:
        values = values[np.isfinite(values)]
        largest = np.abs(values).max(initial=0.0)
        for digits in range(_DIGITS + 1):
            if largest * 10.0**digits >= 2.0**52:
                break
            whole = np.rint(values * 10.0**digits)
            if np.array_equal(whole / 10.0**digits, values):
                ticks = whole.astype(np.int64)
                origin = int(ticks.min()) if len(ticks) else 0
                step = int(np.gcd.reduce(ticks - origin)) if len(ticks) else 1
                return cls(grid=True, origin=origin, step=max(step, 1), digits=digits)
        return cls(grid=False)

    def ticks(self, column: pa.Array) -> Floats:
        """Ticks (N,) of a column without nulls; values between ticks fall between them."""
        if not self.grid:
            return _floats(column)
        if pa.types.is_floating(column.type):
            whole = _floats(column) * 10.0**self.digits
            return (whole - self.origin) / self.step
        return (_integers(column) - self.origin).astype(np.float64) / self.step

    def tick(self, text: str, kind: pa.DataType) -> float:
        """Where one value, written as text, lies; between ticks where it is not on the grid."""
        if pa.types.is_temporal(kind):
            return float(self.ticks(from_text([text], kind))[0])
        if not self.grid:
            return float(text)
        return float((Fraction(text) * 10**self.digits - self.origin) / self.step)

    def column(self, ticks: Floats, kind: pa.DataType) -> pa.Array:
        """The column whose ticks these are."""
        if not self.grid:
            return pa.array(ticks).cast(kind, safe=False)
        whole = np.rint(ticks).astype(np.int64) * self.step + self.origin
        if pa.types.is_floating(kind):
            return pa.array(whole / 10.0**self.digits).cast(kind, safe=False)
        if pa.types.is_decimal(kind):
            return _decimals(whole, kind)
        return pa.array(whole).cast(_storage(kind)).cast(kind)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def _floats(column: pa.Array) -> Floats:
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def _integers(column: pa.Array) -> NDArray[np.int64]:
    if pa.types.is_decimal(column.type):
        wide = column.cast(pa.decimal128(38, column.type.scale))
        words = np.frombuffer(wide.buffers()[1], dtype=np.int64)[2 * wide.offset :]
        return words[: 2 * len(wide) : 2].copy()
    plain = column.cast(_storage(column.type)).cast(pa.int64())
    return np.asarray(plain.to_numpy(zero_copy_only=False))


def _scale(kind: pa.DataType) -> int:
    return int(kind.scale) if pa.types.is_decimal(kind) else 0


def _storage(kind: pa.DataType) -> pa.DataType:
    """The integer type that a date or time is stored as."""
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        return pa.int32()
    return kind if pa.types.is_integer(kind) else pa.int64()


def _decimals(whole: NDArray[np.int64], kind: pa.DataType) -> pa.Array:
    exact = pa.array(whole).cast(pa.decimal128(38, 0))
    shifted = pa.Array.from_buffers(pa.decimal128(38, kind.scale), len(exact), exact.buffers())
    return shifted.cast(kind)
