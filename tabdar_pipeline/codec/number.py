"""Numbers and times as codes and normal residuals: the randomised probability integral transform.

A code is an interval of ranks. A value that many rows share (an atom: zero, a cap, midnight) is a
code of its own, without a residual. What remains is cut into bins of equal mass; within its bin a
value's rank, drawn uniformly over ties, becomes a standard normal residual.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline import normal
from tabdar_pipeline.codec.line import Line
from tabdar_pipeline.codec.quantile import Quantiles
from tabdar_pipeline.codec.rhythm import Rhythm

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
_FINE = 1000  # doubles between two ends, from which on it matters little that the ends are rounded
_ROUNDING = 1e-14  # share of a bin kept clear at the ends of a part, against rounding
_EDGE = 0.1  # share of a tie's interval kept clear at each end, against rounding


@dataclass(frozen=True, slots=True)
class NumberSettings:
    """How finely numbers are coded."""

    bins: int = 32  # of equal mass, over the values that are no atoms
    rows_per_bin: int = 50
    shared: int = 5  # rows that must share a value before it may come back as itself
    atoms: int = 256  # with no more distinct values than this, each shared one is an atom
    atom_share: float = 0.004  # otherwise an atom holds at least this share of the rows
    listed: float = 0.9  # share of the rows with shared values, where values must be told exactly


class Cells(NamedTuple):
    """Codes and residuals of one column's cells."""

    codes: Codes  # (N,)
    residuals: Floats  # (N,)


class Parts(NamedTuple):
    """Codes and, of each, an interval of its residual."""

    codes: Codes  # (P,)
    low: Floats  # (P,)
    high: Floats  # (P,)


@dataclass(frozen=True, slots=True)
class NumberCodec:
    """Codes 0..A-1 are atoms, A..A+B-1 bins, then NaN, infinities and NULL where they were seen."""

    line: Line
    atoms: Floats  # (A,) ticks, ascending
    bins: int
    quantiles: Quantiles | None  # of the dense remainder
    low: Floats  # (K,) rank intervals of the codes
    high: Floats  # (K,)
    specials: tuple[float, ...] = ()
    missing: bool = False

    @classmethod
    def fit(cls, column: pa.Array, settings: NumberSettings, exact: bool = False) -> Self:
        """Learn atoms, bins and quantiles from a column of numbers or times.

        exact: where nearly every row shares its value, each shared one is an atom, however many there are, and the
        nearest atom stands for the others.
        """
        known = column.drop_null()
        line = Line.fit(known)
        ticks = line.ticks(known)
        special = ~np.isfinite(ticks)
        values, counts = np.unique(ticks[~special], return_counts=True)
        atom = _atoms(counts, settings)
        listed = exact and _mostly_shared(counts, settings)
        if listed:
            atom = counts >= settings.shared
        dense = int(counts[~atom].sum())
        if listed or (atom.any() and dense < settings.shared):
            dense = 0  # too few to be averaged: the nearest atom stands for them
        bins = int(np.clip(dense // settings.rows_per_bin, 1, settings.bins)) if dense else 0
        quantiles = (
            _quantiles(line, known.type, values[~atom], counts[~atom], settings.shared) if dense else None
        )
        low, high = _intervals(values, counts, atom, bins, quantiles)
        seen = sorted({str(v) for v in ticks[special]})
        missing = column.null_count > 0
        tail = np.full(len(seen) + missing, 0.5)
        return cls(
            line,
            values[atom],
            bins,
            quantiles,
            np.r_[low, tail],
            np.r_[high, tail],
            tuple(float(v) for v in seen),
            missing,
        )

    @property
    def levels(self) -> int:
        """K, the number of codes."""
        return len(self.low)

    @property
    def continuous(self) -> NDArray[np.bool_]:
        """(K,) for each code, whether it carries a residual."""
        return self.high > self.low

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest tick."""
        ticks = np.r_[self.atoms, () if self.quantiles is None else self.quantiles.ends]
        if not len(ticks):
            return 0.0, 0.0
        return float(ticks.min()), float(ticks.max())

    def unseen(self, known: pa.Array) -> int:
        """How many of these cells, none of them missing, lie beyond the smallest and the largest seen."""
        ticks, (low, high) = self.line.ticks(known), self.ends
        finite = ticks[np.isfinite(ticks)]
        return int(((finite < low) | (finite > high)).sum())

    def encode(self, column: pa.Array, rng: np.random.Generator | None) -> Cells:
        """Codes and residuals (N,); a NULL that fitting never saw has code -1: unknown."""
        codes = np.full(len(column), self.levels - 1 if self.missing else -1, dtype=np.int64)
        residuals = np.zeros(len(column))
        here = np.flatnonzero(np.asarray(column.is_valid().to_numpy(zero_copy_only=False)))
        ticks = self.line.ticks(column.drop_null())
        codes[here], residuals[here] = self._encode(ticks, rng)
        return Cells(codes, residuals)

    def _encode(self, ticks: Floats, rng: np.random.Generator | None) -> Cells:
        finite = np.isfinite(ticks)
        safe = np.where(finite, ticks, 0.0)
        near = np.searchsorted(self.atoms, safe) if len(self.atoms) else np.zeros(len(ticks), int)
        atom = np.zeros(len(ticks), bool)
        if len(self.atoms):
            near = np.minimum(near, len(self.atoms) - 1)
            atom = self.atoms[near] == safe
        codes, residuals = self._dense(safe, rng)
        codes = np.where(atom, near, codes)
        for i, special in enumerate(self.specials):
            same = np.isnan(ticks) if np.isnan(special) else ticks == special
            codes = np.where(same, len(self.atoms) + self.bins + i, codes)
            finite = finite | same
        return Cells(np.where(finite, codes, -1), np.where(atom | ~np.isfinite(ticks), 0, residuals))

    def _dense(self, ticks: Floats, rng: np.random.Generator | None) -> Cells:
        if self.quantiles is None:
            near = np.searchsorted((self.atoms[1:] + self.atoms[:-1]) / 2, ticks)
            return Cells(near, np.zeros(len(ticks)))
        half = 0.5 if self.line.grid else 0.0
        low, high = self.quantiles.interval(ticks - half, ticks + half)
        tie = 0.5 if rng is None else _EDGE + (1 - 2 * _EDGE) * rng.random(len(ticks))
        p = low + (high - low) * tie
        place = np.minimum(p * self.bins, self.bins - 1e-9)
        bin_ = place.astype(np.int64)
        return Cells(len(self.atoms) + bin_, normal.score(place - bin_))

    def decode(self, cells: Cells, kind: pa.DataType) -> pa.Array:
        """The column of these cells, in its own type."""
        special = cells.codes - len(self.atoms) - self.bins
        null = self.missing & (cells.codes == self.levels - 1)
        floating = pa.types.is_floating(kind)
        column = self.line.column(self._ticks(cells), kind)
        if floating and self.specials:
            values = np.asarray(column.to_numpy(zero_copy_only=False)).copy()
            for i, value in enumerate(self.specials):
                values[special == i] = value
            column = pa.array(values).cast(kind)
        return _with_nulls(column, null) if self.missing else column

    def _ticks(self, cells: Cells) -> Floats:
        """Where each cell lies; of NULL and the like it means nothing."""
        codes, a = cells.codes, len(self.atoms)
        ticks = self.atoms[np.minimum(codes, a - 1)] if a else np.zeros(len(codes))
        if self.quantiles is None:
            return ticks
        p = (np.clip(codes - a, 0, self.bins - 1) + normal.rank(cells.residuals)) / self.bins
        return np.where(codes >= a, self.quantiles.value(p), ticks)

    def tells(self, parts: Parts, low: float, high: float) -> bool:
        """Whether rows of these parts lie between two whole ticks: not where doubles are coarser than that."""
        coarse = np.spacing(max(abs(end) for end in (low, high, 0.0) if np.isfinite(end)))
        if not self.line.grid or (coarse > 0.5 and high - low < _FINE * coarse):
            return not self.line.grid
        first, last = normal.rank(parts.low), normal.rank(parts.high)
        inner = [normal.score(first + share * (last - first)) for share in (0.05, 0.5, 0.95)]
        ticks = np.rint([self._ticks(Cells(parts.codes, it)) for it in inner])
        return bool(((low <= ticks) & (ticks <= high)).all())

    def within(self, low: float, high: float) -> Parts:
        """The parts of codes whose values lie between two ticks, both included."""
        atoms = np.flatnonzero((self.atoms >= low) & (self.atoms <= high))
        ends = np.full(len(atoms), np.inf)
        parts = Parts(atoms, -ends, ends)
        if self.quantiles is None or low > self.quantiles.ends[1] or high < self.quantiles.ends[0]:
            return parts
        half = 0.5 if self.line.grid else 0.0
        (first,), (last,) = self.quantiles.interval(np.array([low - half]), np.array([high + half]))
        edges = np.arange(self.bins + 1) / self.bins
        bins = np.flatnonzero((edges[1:] > first) & (edges[:-1] < last))
        inside = np.clip((np.array([first, last]) - edges[bins, None]) * self.bins, 0, 1)  # (P, 2)
        inside += (
            np.array([1, -1]) * np.minimum(_ROUNDING, np.diff(inside) / 3) * ((inside > 0) & (inside < 1))
        )
        scores = np.where(inside <= 0, -np.inf, np.where(inside >= 1, np.inf, normal.score(inside)))
        return Parts(
            np.r_[atoms, len(self.atoms) + bins], np.r_[-ends, scores[:, 0]], np.r_[ends, scores[:, 1]]
        )

    def places(self, parts: int = 8) -> Floats:
        """(K, Q) the ticks at the middles of Q equal parts of each code's mass; NULL and the like have none."""
        ticks = np.zeros((self.levels, parts))
        a, b = len(self.atoms), self.bins
        ticks[:a] = self.atoms[:, None]
        if self.quantiles is not None:
            middle = (np.arange(b * parts) + 0.5) / (b * parts)
            ticks[a : a + b] = self.quantiles.value(middle).reshape(b, parts)
        return ticks

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        q = self.quantiles
        return {
            "codec": "number",
            "line": self.line.to_json(),
            "atoms": self.atoms.tolist(),
            "bins": self.bins,
            "quantiles": q
            and {
                "ranks": q.ranks.tolist(),
                "values": q.places.tolist(),
                "rhythm": q.rhythm and q.rhythm.to_json(),
            },
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "specials": [str(v) for v in self.specials],
            "missing": self.missing,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The codec that `to_json` wrote."""
        q = record["quantiles"]
        return cls(
            Line(**record["line"]),
            np.array(record["atoms"], dtype=float),
            record["bins"],
            q and _quantiles_from_json(q),
            np.array(record["low"], dtype=float),
            np.array(record["high"], dtype=float),
            tuple(float(v) for v in record["specials"]),
            record["missing"],
        )


def _quantiles(line: Line, kind: pa.DataType, values: Floats, counts: Codes, shared: int) -> Quantiles:
    return Quantiles.fit(values, counts, shared, Rhythm.fit(line, kind, values, counts, shared))


def _quantiles_from_json(record: Mapping[str, Any]) -> Quantiles:
    ranks, places = (np.array(record[name], dtype=float) for name in ("ranks", "values"))
    rhythm = record.get("rhythm")
    return Quantiles(ranks, places, rhythm and Rhythm.from_json(rhythm))


def _atoms(counts: Codes, settings: NumberSettings) -> NDArray[np.bool_]:
    """Which distinct values are atoms."""
    few = len(counts) <= settings.atoms
    least = settings.shared if few else max(settings.shared, settings.atom_share * counts.sum())
    return counts >= least


def _mostly_shared(counts: Codes, settings: NumberSettings) -> bool:
    """Whether a column may be told by its values alone; never where atoms are not wanted."""
    shared = int(counts[counts >= settings.shared].sum())
    return settings.atoms > 0 and shared > 0 and shared >= settings.listed * counts.sum()


def _intervals(
    values: Floats, counts: Codes, atom: NDArray[np.bool_], bins: int, quantiles: Quantiles | None
) -> tuple[Floats, Floats]:
    """Where each code lies among the ranks of all rows: atoms as points, bins as intervals."""
    upper = np.cumsum(counts) / max(counts.sum(), 1)
    middle = upper - counts / max(counts.sum(), 1) / 2
    if quantiles is None:
        return middle[atom], middle[atom]
    inner = quantiles.value(np.arange(1, bins) / bins)
    edges = np.r_[0.0, np.interp(inner, values, middle), 1.0]
    edges = np.maximum.accumulate(edges) + np.arange(bins + 1) * 1e-9  # open, whatever the ties
    return np.r_[middle[atom], edges[:-1]], np.r_[middle[atom], edges[1:]]


def _with_nulls(column: pa.Array, null: NDArray[np.bool_]) -> pa.Array:
    from pyarrow import compute as pc

    return pc.if_else(pa.array(~null), column, pa.scalar(None, column.type))
