"""How a column of numbers or times lies on a line of ticks, and back without a digit lost.

Whole numbers, decimals, dates and times are integers of some unit; floats are integers of a power
of ten where all of them are. The greatest common divisor is the grid: a step of 0.05, whole
hundreds, days at midnight. Floats on no grid are their own ticks.
"""

import math
from dataclasses import asdict, dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline.schemas.types import from_text

Floats = NDArray[np.float64]
_EXACT = 2**53  # what a float counts to in ones; a column that spans more is counted from its middle
_WORD = 2**63  # what a signed word of 64 bits cannot hold
_HUGE, _TINY = (2.0**900, 200), (2.0**-900, -600)  # where to scale, and by which power of two
_ROUNDING = 1e-6  # of a tick, by which a float may miss its own
_DAY = 86_400_000_000  # microseconds
_DIGITS = 7  # of a float's fraction that may form a grid


@dataclass(frozen=True, slots=True)
class Line:
    """value = (origin + step * tick) / 10 ** digits; without a grid, value = tick."""

    grid: bool
    origin: int = 0
    step: int = 1
    digits: int = 0
    first: int | None = None  # of integers; the origin where it is not given
    last: int | None = None  # of integers: a tick beyond 2**53 is rounded, and must not pass it
    power: int = (
        0  # without a grid, value = tick * 2 ** power: sums of huge ticks stay finite, tiny ones normal
    )

    @classmethod
    def fit(cls, column: pa.Array) -> Self:
        """The coarsest grid on which every finite value lies."""
        if pa.types.is_floating(column.type):
            return cls._fit_floats(_floats(column))
        whole = _integers(column)
        first, last = (int(whole.min()), int(whole.max())) if len(whole) else (0, 0)
        step = max(int(np.gcd.reduce(_beyond(whole, first))), 1) if len(whole) else 1
        origin = first if (last - first) // step < _EXACT else int(np.sort(whole)[len(whole) // 2])
        return cls(grid=True, origin=origin, step=step, digits=_scale(column.type), first=first, last=last)

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
        return cls(
            grid=False, power=_HUGE[1] if largest > _HUGE[0] else _TINY[1] if largest < _TINY[0] else 0
        )

    def ticks(self, column: pa.Array) -> Floats:
        """Ticks (N,) of a column without nulls; values between ticks fall between them."""
        if not self.grid:
            return np.ldexp(_floats(column), -self.power)
        if pa.types.is_floating(column.type):
            ticks = (_floats(column) * 10.0**self.digits - self.origin) / self.step
            with np.errstate(invalid="ignore"):  # infinities have no nearest tick
                return np.where(np.abs(ticks - np.rint(ticks)) < _ROUNDING, np.rint(ticks), ticks)
        return (_beyond(_integers(column), self.origin) / self.step).astype(np.float64)

    def tick(self, text: str, kind: pa.DataType) -> float:
        """Where one value, written as text, lies; between ticks where it is not on the grid, as noon between days."""
        if pa.types.is_date(kind):
            moment = from_text([text], pa.timestamp("us")).cast(pa.int64())[0].as_py()
            days = Fraction(moment, _DAY) * (1 if pa.types.is_date32(kind) else _DAY // 1000)
            return float((days - self.origin) / self.step)
        if pa.types.is_temporal(kind):
            return float(self.ticks(from_text([text], kind))[0])
        if not self.grid:
            return math.ldexp(float(text), -self.power)
        return float((Fraction(text) * 10**self.digits - self.origin) / self.step)

    def column(self, ticks: Floats, kind: pa.DataType) -> pa.Array:
        """The column whose ticks these are."""
        if not self.grid:
            return pa.array(np.ldexp(ticks, self.power)).cast(kind, safe=False)
        whole = self._whole(ticks)
        if pa.types.is_floating(kind):
            return pa.array(whole / 10.0**self.digits).cast(kind, safe=False)
        if pa.types.is_decimal(kind):
            return _decimals(whole, kind)
        return pa.array(whole, _storage(kind)).cast(kind)

    def _whole(self, ticks: Floats) -> NDArray[Any]:
        """The integers of these ticks; Python's own where 64 bits are too few."""
        nearest = np.rint(ticks)
        largest = int(np.abs(nearest).max(initial=1.0)) * self.step + abs(self.origin)
        whole = nearest.astype(np.int64) if largest < _WORD else np.array([int(t) for t in nearest], object)
        whole = np.asarray(whole * self.step + self.origin)
        if self.last is None:
            return whole
        first, last = self.origin if self.first is None else self.first, self.last
        if whole.dtype != object:  # what 64 bits hold needs no bound that they do not hold
            first, last = max(first, -_WORD), min(last, _WORD - 1)
        return np.clip(whole, first, last)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def _floats(column: pa.Array) -> Floats:
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def _integers(column: pa.Array) -> NDArray[Any]:
    """Integers (N,) of the type's unit: 64 bits, or Python's own where these are too few."""
    if pa.types.is_decimal(column.type):
        wide = column.cast(pa.decimal128(38, column.type.scale))
        words = np.frombuffer(wide.buffers()[1], dtype=np.int64)[2 * wide.offset :][: 2 * len(wide)]
        low, high = words[::2], words[1::2]
        if np.array_equal(high, low >> 63):
            return low.copy()
        return np.array(
            [int(h) * 2**64 + int(w) for h, w in zip(high, low.view(np.uint64), strict=True)], object
        )
    plain = np.asarray(column.cast(_storage(column.type)).to_numpy(zero_copy_only=False))
    return (
        plain.astype(object)
        if plain.dtype == np.uint64 and plain.max(initial=0) >= _WORD
        else plain.astype(np.int64)
    )


def _beyond(whole: NDArray[Any], origin: int) -> NDArray[Any]:
    """How far these integers lie beyond the origin, exactly."""
    if not len(whole):
        return whole.astype(np.int64)
    farthest = max(abs(int(end) - origin) for end in (whole.min(), whole.max()))
    wide = whole.dtype == object or farthest >= _WORD or abs(origin) >= _WORD
    return np.asarray((whole.astype(object) if wide else whole) - origin)


def _scale(kind: pa.DataType) -> int:
    return int(kind.scale) if pa.types.is_decimal(kind) else 0


def _storage(kind: pa.DataType) -> pa.DataType:
    """The integer type that a date or time is stored as."""
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        return pa.int32()
    return kind if pa.types.is_integer(kind) else pa.int64()


def _decimals(whole: NDArray[Any], kind: pa.DataType) -> pa.Array:
    if whole.dtype == object:
        most = 10**kind.precision - 1
        exact = pa.array([Decimal(min(max(w, -most), most)) for w in whole], pa.decimal128(38, 0))
    else:
        exact = pa.array(whole).cast(pa.decimal128(38, 0))
    shifted = pa.Array.from_buffers(pa.decimal128(38, kind.scale), len(exact), exact.buffers())
    return shifted.cast(kind)
