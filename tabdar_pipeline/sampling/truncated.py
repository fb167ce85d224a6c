"""Draws inside a limit, as if all else had never been possible.

The probability-flow ODE of one scalar carries noise n to a residual T(n), and never crosses itself:
T is increasing, so Phi(n) is the residual's rank given its cell. The part low <= r <= high of a code
weighs Phi(T^-1(high)) - Phi(T^-1(low)), and T of noise between those two ranks lies in the part.

Codes are bins of equal mass, in which a residual is about normal. So T is taken for straight, through
what it is at -1 and at 1; and for the identity where a code has little of what may be drawn. However
narrow a part is, its draws lie apart, and in it.

B rows, E entries of the limit, P of them parts of a code.
"""

from dataclasses import dataclass, replace

import numpy as np

from tabdar_pipeline import normal
from tabdar_pipeline.sampling.engine import Codes, Condition, Engine, Floats
from tabdar_pipeline.sampling.limits import Doubles, Limit

LIKELY = 0.25  # share of what may be drawn, from which a code is asked for its own T
LEAST = 1e-30  # mass of a part, so that its logarithm is finite
THIN = 1e-9  # mass of a part whose ranks can no longer be told apart


@dataclass(frozen=True, slots=True)
class Parts:
    """The entries of a limit, row by row."""

    limit: Limit
    centre: Doubles  # (B, P) of T(n) = centre + spread n
    spread: Doubles  # (B, P)
    low: Doubles  # (B, E) rank of the noise at which the entry begins; 0 for a whole code
    high: Doubles  # (B, E) at which it ends; 1 for a whole code

    @classmethod
    def of(cls, engine: Engine, condition: Condition, limit: Limit, offset: int) -> "Parts":
        """Ask the diffusion only where an entry is but a part of its code, and a likely one."""
        rows, cut = len(condition.z), np.flatnonzero(limit.cut)
        logits = condition.logits[:, limit.codes]
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        likely = (share > LIKELY * share.sum(axis=1, keepdims=True))[:, cut]
        centre, spread = np.zeros(likely.shape), np.ones(likely.shape)
        row, part = np.nonzero(likely)
        if len(row):
            z, flat = condition.z[row], limit.codes[cut][part] + offset
            below, above = (engine.residuals(z, flat, np.full(len(row), n, np.float32)) for n in (-1, 1))
            centre[row, part] = (above + below) / 2
            spread[row, part] = np.maximum((above - below) / 2, np.float32(1e-6))
        low, high = np.zeros((rows, len(limit.codes))), np.ones((rows, len(limit.codes)))
        low[:, cut] = normal.rank((limit.low[cut] - centre) / spread)
        high[:, cut] = normal.rank((limit.high[cut] - centre) / spread)
        return cls(limit, centre, spread, low, high)

    def rows(self, which: Codes | slice) -> "Parts":
        """Those of some rows."""
        centre, spread = self.centre[which], self.spread[which]
        return replace(self, centre=centre, spread=spread, low=self.low[which], high=self.high[which])

    @property
    def log_mass(self) -> Floats:
        """(B, E) log of the share of its code that an entry is."""
        return np.log(np.maximum(self.high - self.low, LEAST)).astype(np.float32)

    def residuals(self, entries: Codes, noise: Floats) -> Doubles:
        """T of the unit noise (B,) that is moved between the ends of entries (B,), all parts of a code."""
        rows, part = np.arange(len(entries)), (np.cumsum(self.limit.cut) - 1)[entries]
        low, high = self.low[rows, entries], self.high[rows, entries]
        first, last = self.limit.low[entries], self.limit.high[entries]
        share = normal.rank(noise)
        inside = normal.score(low + (high - low) * share)
        found = self.centre[rows, part] + self.spread[rows, part] * inside
        thin = (high - low < THIN) & np.isfinite(first) & np.isfinite(last)
        found[thin] = first[thin] + (last - first)[thin] * share[thin]
        return np.clip(found, first, last)
