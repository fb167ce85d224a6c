"""What a column may be drawn as: some of its codes, and of some of them a part.

E entries: a code and an interval of its residual. Several entries of one code are several intervals.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabdar_pipeline.sampling.engine import Codes
from tabdar_pipeline.sampling.memory import Flags

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Limit:
    """A part of one column's distribution."""

    codes: Codes  # (E,)
    low: Doubles  # (E,) of the residual; -inf where it has no lower end
    high: Doubles  # (E,)

    @classmethod
    def of_codes(cls, codes: Codes) -> "Limit":
        """These codes, whole."""
        ends = np.full(len(codes), np.inf)
        return cls(np.asarray(codes, np.int64), -ends, ends)

    @property
    def cut(self) -> Flags:
        """(E,) whether an entry is but a part of its code."""
        return np.isfinite(self.low) | np.isfinite(self.high)
