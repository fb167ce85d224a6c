"""What a column may be drawn as: some of its codes, and of some of them a part.

E entries: a code and an interval of its residual. Several entries of one code are several intervals.
"""

from dataclasses import dataclass

import numpy as np

from tabdar_pipeline.sampling.engine import Codes, Floats
from tabdar_pipeline.sampling.memory import Flags


@dataclass(frozen=True, slots=True)
class Limit:
    """A part of one column's distribution."""

    codes: Codes  # (E,)
    low: Floats  # (E,) of the residual; -inf where it has no lower end
    high: Floats  # (E,)

    @classmethod
    def of_codes(cls, codes: Codes) -> "Limit":
        """These codes, whole."""
        ends = np.full(len(codes), np.inf, np.float32)
        return cls(np.asarray(codes, np.int64), -ends, ends)

    @property
    def cut(self) -> Flags:
        """(E,) whether an entry is but a part of its code."""
        return np.isfinite(self.low) | np.isfinite(self.high)
