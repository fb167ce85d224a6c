"""Columns that hold together only a few of the combinations that their values allow; and columns NULL together.

N rows, C columns. A combination that is rare is not one that cannot be: what is proposed must be all but complete in
the table, and most rows must break it once their columns are shuffled.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline.schemas.columns import Column, Kind
from tabdar_pipeline.schemas.constraints import Combination, Constraint, Dependency, NullWhen, codes, is_null

Codes = NDArray[np.int64]
COLUMNS = 60  # categories among which combinations are sought
LEVELS = 1000  # combinations at most
EACH = 8  # rows that share a combination, on average
LONE = 0.001  # of the rows at most have a combination of their own: so likely is one that was never seen
BROKEN = 0.4  # of the rows at least break it once they are shuffled
NULLS = 20  # rows at least where a column is NULL, and where it is not
UNSEEN = 100  # rows that were to be expected of a pattern of NULL that never occurs


def fixed_combinations(
    head: pa.Table, columns: Sequence[Column], found: Sequence[Constraint]
) -> Iterator[Constraint]:
    """Categories that come in few combinations, but for those where one determines the others already."""
    names = [c.name for c in columns if c.kind is Kind.CATEGORY][:COLUMNS]
    levels = {name: codes(head[name]) + 1 for name in names}  # 0 is NULL
    few = [name for name in names if 2 <= len(np.unique(levels[name])) <= LEVELS]
    known = {frozenset(rule.columns) for rule in found if isinstance(rule, Dependency)}
    pairs = [
        pair
        for pair in combinations(few, 2)
        if frozenset(pair) in known or _fixed([levels[name] for name in pair])
    ]
    for pair_group in _groups(few, pairs):
        group = _grown(pair_group, levels, few)
        cells = [levels[name] for name in group]
        if not _determined(cells) and _fixed(cells):
            yield Combination(group)


def null_patterns(
    head: pa.Table, table: pa.Table, columns: Sequence[Column], found: Sequence[Constraint]
) -> Iterator[Constraint]:
    """Columns that are NULL together, or never together, or one only where another is."""
    told = {rule.column for rule in found if isinstance(rule, NullWhen)}
    names = [c.name for c in columns if c.name not in told and 0 < table[c.name].null_count < table.num_rows]
    empty = np.array([is_null(head[name]) for name in names], np.float64).reshape(len(names), head.num_rows)
    often = np.flatnonzero((empty.sum(axis=1) >= NULLS) & ((1 - empty).sum(axis=1) >= NULLS))
    kept = [names[i] for i in often]
    pairs = [(kept[i], kept[j]) for i, j in _exclusive(empty[often])]
    for group in _groups(kept, pairs):
        if _complete([is_null(table[name]) for name in group]):
            yield Combination(group, of="nulls")


def _grown(group: tuple[str, ...], levels: Mapping[str, Codes], names: Sequence[str]) -> tuple[str, ...]:
    """The columns, and those that come in few combinations with all of them, though not with any one."""
    found = list(group)
    for name in names:
        if name not in found and _fixed([_joined([levels[it] for it in found]), levels[name]]):
            found.append(name)
    return tuple(name for name in names if name in found)


def _fixed(cells: Sequence[Codes]) -> bool:
    """Whether columns (N,) hold few combinations, and few lone ones, that shuffled rows mostly do not hold."""
    if not _complete(cells):
        return False
    rng = np.random.default_rng(0)
    rows, mixed = _joined([np.r_[column, rng.permutation(column)] for column in cells]).reshape(2, -1)
    return bool(1 - np.isin(mixed, rows).mean() >= BROKEN)


def _complete(cells: Sequence[Codes]) -> bool:
    """Whether columns (N,) hold few combinations, almost none of them once: the missing mass of Good and Turing."""
    _, many = np.unique(_joined(cells), return_counts=True)
    rows = len(cells[0])
    return bool(len(many) <= min(LEVELS, rows // EACH) and (many == 1).sum() <= LONE * rows)


def _joined(cells: Sequence[Codes]) -> Codes:
    """(N,) a number for each combination."""
    group = np.zeros(len(cells[0]), np.int64)
    for column in cells:
        _, group = np.unique(group * (int(column.max()) + 1) + column, return_inverse=True)
    return group


def _determined(cells: Sequence[Codes]) -> bool:
    """Whether one of the columns has as many levels as there are combinations: a dependency says it already."""
    many = len(np.unique(_joined(cells)))
    return any(len(np.unique(column)) == many for column in cells)


def _exclusive(empty: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs of columns (C, N) of which a pattern of NULL never occurs that would if they knew nothing of each other."""
    found = np.zeros((len(empty), len(empty)), bool)
    for one, other in product((empty, 1 - empty), repeat=2):
        due = np.outer(one.sum(axis=1), other.sum(axis=1)) / max(empty.shape[1], 1)
        found |= (one @ other.T == 0) & (due >= UNSEEN)
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(found, 1))]


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
