"""Draws inside a limit, as if all else had never been possible.

The probability-flow ODE of one scalar carries noise n to a residual T(n), and never crosses itself:
T is increasing, so Phi(n) is the residual's rank given its cell. The part low <= r <= high of a code
weighs Phi(T^-1(high)) - Phi(T^-1(low)), and noise drawn between those two ranks lands in the part.

B rows, E entries of the limit, P of them parts of a code, G noises at which T is known.
"""

from dataclasses import dataclass

import numpy as np

from tabdar_pipeline import normal
from tabdar_pipeline.sampling.engine import Codes, Engine, Floats
from tabdar_pipeline.sampling.limits import Limit

NOISES = np.linspace(-3, 3, 13, dtype=np.float32)  # (G,)
LEAST = 1e-30  # mass of a part, so that its logarithm is finite


@dataclass(frozen=True, slots=True)
class Parts:
    """Between which ranks of its noise each entry of a limit lies, row by row."""

    low: Floats  # (B, E), 0 for a whole code
    high: Floats  # (B, E), 1 for a whole code

    @classmethod
    def of(cls, engine: Engine, z: Floats, limit: Limit, offset: int) -> "Parts":
        """Ask the diffusion only where an entry is but a part of its code. Conditions z (B, E)."""
        low = np.zeros((len(z), len(limit.codes)), np.float32)
        high = np.ones_like(low)
        cut = np.flatnonzero(limit.cut)
        if len(cut):
            alike = bool((z == z[0]).all())  # as where nothing was revealed before
            carried = _carried(engine, z[:1] if alike else z, limit.codes[cut] + offset)
            low[:, cut] = _ranks(carried, limit.low[cut])
            high[:, cut] = _ranks(carried, limit.high[cut])
        return cls(low, high)

    def rows(self, which: Codes | slice) -> "Parts":
        """Those of some rows."""
        return Parts(self.low[which], self.high[which])

    @property
    def log_mass(self) -> Floats:
        """(B, E) log of the share of its code that an entry is."""
        return np.log(np.maximum(self.high - self.low, np.float32(LEAST)))

    def noise(self, entries: Codes, noise: Floats) -> Floats:
        """Unit noise (B,) moved between the ends of the entries (B,) that were picked."""
        rows = np.arange(len(entries))
        low, high = self.low[rows, entries], self.high[rows, entries]
        inside = normal.score(low + (high - low) * normal.rank(noise)).astype(np.float32)
        return np.where((low > 0) | (high < 1), inside, noise)


def _carried(engine: Engine, z: Floats, flat: Codes) -> Floats:
    """T at every noise, (B, P, G), of these flat codes (P,)."""
    shape = len(z), len(flat), len(NOISES)
    each = np.repeat(z, shape[1] * shape[2], axis=0)
    codes = np.tile(np.repeat(flat, shape[2]), shape[0])
    residuals = engine.residuals(each, codes, np.tile(NOISES, shape[0] * shape[1]))
    return np.maximum.accumulate(residuals.reshape(shape), axis=2)


def _ranks(carried: Floats, residuals: Floats) -> Floats:
    """Phi(T^-1(r)), (B, P), of residuals (P,)."""
    r = residuals[:, None]
    j = np.clip((carried < r).sum(axis=2), 1, len(NOISES) - 1)[..., None]
    below, above = (np.take_along_axis(carried, k, axis=2) for k in (j - 1, j))
    share = (r - below) / np.maximum(above - below, np.float32(1e-12))  # beyond the ends T goes on straight
    return normal.rank(NOISES[j - 1] + share * (NOISES[1] - NOISES[0]))[..., 0].astype(np.float32)
