"""Rows that have shown the same are in one state: the network looks at each state once, not at each row.

B rows, S states, C columns.
"""

from dataclasses import dataclass

import numpy as np

from tabdar_pipeline.sampling.engine import Cells, Codes, Residuals
from tabdar_pipeline.sampling.memory import Flags


@dataclass(frozen=True, slots=True)
class States:
    """Which rows have shown the same."""

    of: Codes  # (B,) the state of each row
    first: Codes  # (S,) a row that is in it

    @classmethod
    def at_start(cls, cells: Cells, visible: Flags, asked: Flags) -> "States":
        """One state where all rows begin alike, else each row its own."""
        codes, values = np.where(visible, cells.codes, 0), np.where(visible, cells.values, 0)
        alike = all((part == part[:1]).all() for part in (visible, asked, codes, values))
        rows = np.arange(len(visible))
        return cls.together(len(rows)) if alike else cls(rows, rows)

    @classmethod
    def together(cls, rows: int) -> "States":
        """All rows in one state."""
        return cls(np.zeros(rows, np.int64), np.zeros(min(rows, 1), np.int64))

    @property
    def apart(self) -> bool:
        """Whether each row is its own."""
        return len(self.first) == len(self.of)

    def parted(self, codes: Codes, residuals: Residuals) -> "States":
        """The states after all rows drew these codes (B,) and residuals (B,): equal ones stay together.

        Once that would spare less than half of the work, each row is its own.

        >>> one = States(np.zeros(5, np.int64), np.zeros(1, np.int64))
        >>> one.parted(np.array([7, 3, 7, 7, 3]), np.zeros(5, np.float32)).of
        array([1, 0, 1, 1, 0])
        """
        if self.apart:
            return self
        rows, alone = np.arange(len(self.of)), residuals != 0
        shared = len(rows) + self.of * (codes.max() + 1) + codes
        _, first, of = np.unique(np.where(alone, rows, shared), return_index=True, return_inverse=True)
        return States(of, first) if 2 * len(first) <= len(rows) else States(rows, rows)
