"""Columns that hold together only a few of the combinations that their values allow; and columns NULL together.

N rows, C columns. A combination that is rare is not one that cannot be: what is proposed must be all but complete in
the table, and most rows must break it once their columns are shuffled.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabdar_pipeline.schemas.columns import Column, Kind
from tabdar_pipeline.schemas.constraints import Combination, Constraint, Dependency, NullWhen, codes

Codes = NDArray[np.int64]
LEVELS = 1000  # combinations at most
EACH = 8  # rows that share a combination, on average
LONE = 0.001  # of the rows at most have a combination of their own: so likely is one that was never seen
BROKEN = 0.5  # of the rows at least break it once they are shuffled
NULLS = 20  # rows at least where a column is NULL, and where it is not
UNSEEN = 100  # rows that were to be expected of a pattern of NULL that never occurs


def fixed_combinations(
    head: pa.Table, columns: Sequence[Column], found: Sequence[Constraint]
) -> Iterator[Constraint]:
    """Categories that come in few combinations, but for those where one determines the others already."""
    names = [c.name for c in columns if c.kind is Kind.CATEGORY]
    levels = {name: codes(head[name]) for name in names}
    few = [name for name in names if 2 <= levels[name].max(initial=-1) + 1 <= LEVELS]
    known = {frozenset(rule.columns) for rule in found if isinstance(rule, Dependency)}
    pairs = [
        pair
        for pair in combinations(few, 2)
        if frozenset(pair) in known or _fixed([levels[name] for name in pair])
    ]
    for group in _groups(few, pairs):
        cells = [levels[name] for name in group]
        if not _determined(cells) and (len(group) == 2 or _fixed(cells)):
            yield Combination(group)


def null_patterns(
    table: pa.Table, columns: Sequence[Column], found: Sequence[Constraint]
) -> Iterator[Constraint]:
    """Columns that are NULL together, or never together, or one only where another is."""
    told = {rule.column for rule in found if isinstance(rule, NullWhen)}
    empty = {
        c.name: np.asarray(pc.is_null(table[c.name]).to_numpy(), np.int64)
        for c in columns
        if c.name not in told
    }
    often = [name for name, it in empty.items() if NULLS <= it.sum() <= len(it) - NULLS]
    pairs = [pair for pair in combinations(often, 2) if _exclusive(*(empty[name] for name in pair))]
    for group in _groups(often, pairs):
        if _complete(np.stack([empty[name] for name in group], axis=1)):
            yield Combination(group, of="nulls")


def _fixed(cells: Sequence[Codes]) -> bool:
    """Whether columns (N,) hold few combinations, and few lone ones, that shuffled rows mostly do not hold."""
    rows = np.stack(cells, axis=1)
    if not _complete(rows):
        return False
    rng = np.random.default_rng(0)
    mixed = np.stack([rng.permutation(column) for column in cells], axis=1)
    _, group = np.unique(np.concatenate([rows, mixed]), axis=0, return_inverse=True)
    return bool(1 - np.isin(group[len(rows) :], group[: len(rows)]).mean() >= BROKEN)


def _complete(rows: Codes) -> bool:
    """Whether rows (N, C) hold few combinations, almost none of them once: the missing mass of Good and Turing."""
    _, many = np.unique(rows, axis=0, return_counts=True)
    return bool(len(many) <= min(LEVELS, len(rows) // EACH) and (many == 1).sum() <= LONE * len(rows))


def _determined(cells: Sequence[Codes]) -> bool:
    """Whether one of the columns has as many levels as there are combinations: a dependency says it already."""
    many = len(np.unique(np.stack(cells, axis=1), axis=0))
    return any(len(np.unique(column)) == many for column in cells)


def _exclusive(one: Codes, other: Codes) -> bool:
    """Whether a pattern of NULL in two columns never occurs, and would if they knew nothing of each other."""
    seen = np.bincount(2 * one + other, minlength=4)
    shares = np.outer([1 - one.mean(), one.mean()], [1 - other.mean(), other.mean()])
    return bool(((seen == 0) & (shares.ravel() * len(one) >= UNSEEN)).any())


def _groups(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Columns that pairs connect, in the order of the table."""
    group = {name: {name} for name in names}
    for one, other in pairs:
        if group[one] is not group[other]:
            group[one] |= group[other]
            for name in group[other]:
                group[name] = group[one]
    distinct = {id(members): members for members in group.values() if len(members) > 1}
    return [tuple(name for name in names if name in members) for members in distinct.values()]
