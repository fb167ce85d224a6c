"""Hide cells of a table at random, or as a cause among the cells demands (Rubin 1976).

mcar: the judge's own, every cell with the same chance. mar: every other column stays as it is, and a row's first
one of them decides how likely its remaining cells are hidden. mnar: a cell's own value decides, the high and the
frequent more often. Both hide about 30 % of the columns that they touch.
"""

from typing import Literal

import numpy as np
import pandas as pd

Mechanism = Literal["mcar", "mar", "mnar"]
RATE = 0.3
SLOPE = 3.0  # odds from the lowest to the highest rank: e ** SLOPE


def hide(table: pd.DataFrame, mechanism: Literal["mar", "mnar"], rng: np.random.Generator) -> pd.DataFrame:
    """The table with cells missing.

    >>> rows = pd.DataFrame({"a": range(4000), "b": range(4000), "c": range(4000)})
    >>> found = hide(rows, "mar", np.random.default_rng(0)).isna()
    >>> bool(found.a.any()), bool(found.c.any()), bool(found.b[2000:].mean() > 2 * found.b[:2000].mean())
    (False, False, True)
    """
    names = list(table)
    touched = names[1::2] if mechanism == "mar" else names
    hidden = pd.DataFrame(False, index=table.index, columns=table.columns)
    for name in touched:
        cause = table[names[0] if mechanism == "mar" else name]
        hidden[name] = rng.random(len(table)) < chance(rank(cause))
    return table.mask(hidden)


def rank(column: pd.Series) -> np.ndarray:
    """Where each cell stands, 0 to 1: numbers by size, categories by how many rows share them."""
    if not pd.api.types.is_numeric_dtype(column):
        column = column.map(column.value_counts())
    return column.astype(float).rank(pct=True).fillna(0.5).to_numpy()


def chance(ranks: np.ndarray) -> np.ndarray:
    """How likely a cell is hidden: logistic in the rank, RATE on average."""
    odds = np.exp(SLOPE * (ranks - 0.5))
    share = odds / (1 + odds)
    return share * RATE / share.mean()
