"""Pairs of codes that go together: what one column shows bars codes of another.

B rows, C columns, K codes of a column.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tabdar_pipeline.sampling.engine import Cells, Floats
from tabdar_pipeline.sampling.limits import Limit
from tabdar_pipeline.sampling.memory import Flags

BARRED = np.float32(-1e30)


@dataclass(frozen=True, slots=True)
class Pair:
    """Which codes of a column go with which of another."""

    on: int  # the column that is drawn first
    column: int
    allowed: Flags  # (K of on, K of column)


def barred(
    logits: Floats,
    column: int,
    cells: Cells,
    known: Flags,
    pairs: Sequence[Pair],
    limit: Limit | None = None,
) -> Floats:
    """Logits (B, K) without the codes that do not go with what a row shows; known (B, C).

    A row to which no code is left, within the limit, is left as it is.
    """
    inside = slice(None) if limit is None else limit.codes
    for pair in pairs:
        if column == pair.column:
            other, allowed = pair.on, pair.allowed
        elif column == pair.on:
            other, allowed = pair.column, pair.allowed.T
        else:
            continue
        open_ = allowed[cells.codes[:, other]] | ~known[:, other, None]
        open_ |= ~(open_ & (logits > BARRED))[:, inside].any(axis=1, keepdims=True)
        logits = np.where(open_, logits, BARRED)
    return logits


def determined_last(order: Sequence[int], pairs: Sequence[Pair]) -> tuple[int, ...]:
    """The same order, but for columns from which others follow: they come before these.

    >>> determined_last((2, 1, 0), [Pair(0, 2, np.ones((1, 1), bool))])
    (0, 2, 1)
    """
    before: dict[int, list[int]] = {}
    for pair in pairs:
        before.setdefault(pair.column, []).append(pair.on)
    found: dict[int, None] = {}

    def visit(column: int, path: frozenset[int]) -> None:
        for on in before.get(column, ()):
            if on not in found and on not in path:
                visit(on, path | {column})
        found.setdefault(column)

    for column in order:
        visit(column, frozenset())
    return tuple(found)
