"""Constraints that a table keeps, proposed with their support; a person reviews them in the contract.

Cheap tests on a sample of rows prune, and what is left is held against every row.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabdar_pipeline.schemas.arithmetic import ROWS, arithmetic
from tabdar_pipeline.schemas.columns import Column, Kind
from tabdar_pipeline.schemas.combinations import fixed_combinations, null_patterns
from tabdar_pipeline.schemas.constraints import (
    Combination,
    Constraint,
    Dependency,
    Inequality,
    NullWhen,
    codes,
    plain,
)
from tabdar_pipeline.schemas.table import TableSchema

Codes = NDArray[np.int64]
SAMPLE = 5000  # rows on which candidates are pruned
LEVELS = 1000  # of a column that determines another
EACH = 8  # rows that share a level, on average, or a dependency is no news
CHANCE = 0.98  # an inequality that shuffled rows keep as often is none


@dataclass(frozen=True, slots=True)
class Proposal:
    """A constraint, and how many of the rows to which it applies keep it."""

    constraint: Constraint
    kept: int
    rows: int

    @property
    def support(self) -> str:
        """For a person."""
        return f"{self.kept:,} of {self.rows:,} rows"


def discover(table: pa.Table, schema: TableSchema) -> tuple[Proposal, ...]:
    """The constraints that every row keeps."""
    if table.num_rows < ROWS:
        return ()
    head = _sample(table)
    modelled = [c for c in schema.modelled if c.name in table.column_names]
    candidates = [
        *_inequalities(head, modelled),
        *arithmetic(head, modelled),
        *_dependencies(head, table, modelled),
        *_nulls(table, modelled),
    ]
    candidates += fixed_combinations(head, modelled, candidates)
    candidates += null_patterns(head, table, modelled, candidates)
    found = [supported(candidate, table) for candidate in candidates]
    return tuple(p for p in found if p.kept == p.rows >= ROWS)


def supported(constraint: Constraint, table: pa.Table) -> Proposal:
    """A constraint with its support: a row to which it applies has all cells that it needs."""
    applies = np.ones(table.num_rows, bool)
    if not isinstance(constraint, NullWhen | Combination):
        for name in constraint.columns:
            applies &= np.asarray(pc.is_valid(table[name]).to_numpy())
    rows = int(applies.sum())
    return Proposal(constraint, rows - int((constraint.broken(table) & applies).sum()), rows)


def _sample(table: pa.Table) -> pa.Table:
    rows = np.random.default_rng(0).permutation(table.num_rows)[:SAMPLE]
    return table.take(pa.array(np.sort(rows)))


def _inequalities(head: pa.Table, columns: Sequence[Column]) -> Iterator[Constraint]:
    """Pairs of times whose ranges overlap, that are in order in every row, and not by chance."""
    times = [c for c in columns if c.kind is Kind.DATETIME]
    for a, b in combinations(times, 2):
        if a.arrow_type != b.arrow_type:
            continue
        for low, high in ((a, b), (b, a)):
            rule = Inequality(low.name, high.name)
            known = head.filter(pc.and_(pc.is_valid(head[low.name]), pc.is_valid(head[high.name])))
            if known.num_rows < ROWS or rule.broken(known).any():
                continue
            shuffled = known[high.name].take(pa.array(np.random.default_rng(0).permutation(known.num_rows)))
            mixed = pa.table([known[low.name], shuffled], names=[low.name, high.name])
            if 1 - rule.broken(mixed).mean() < CHANCE:
                strict = Inequality(low.name, high.name, strict=True)
                yield rule if strict.broken(known).any() else strict


def _dependencies(head: pa.Table, table: pa.Table, columns: Sequence[Column]) -> Iterator[Constraint]:
    """Pairs of columns of which one's value gives the other's; of two that give each other, the first alone."""
    levels = {c.name: codes(head[c.name]) for c in columns if c.kind in (Kind.CATEGORY, Kind.NUMBER)}
    few = [name for name, it in levels.items() if 2 <= _size(it) <= min(LEVELS, head.num_rows // EACH)]
    for on in few:
        yield from _followers(on, {name: levels[name] for name in few})
    many = [name for name, it in levels.items() if name not in few and _size(it) > 1]
    for on in many:
        part = _levels_whole(table, on) if _may_lead(head[on], levels[on], table.num_rows) else None
        if part is not None:
            yield from _followers(on, {name: codes(part[name]) for name in (*few, *many)})


def _may_lead(column: pa.ChunkedArray, levels: Codes, rows: int) -> bool:
    """Whether so few levels in a sample leave room for EACH rows a level; fractions are measured, and lead nothing."""
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        return False
    most = rows / EACH
    return _size(levels) <= 1.05 * most * -np.expm1(-len(column) / most)


def _followers(on: str, levels: Mapping[str, Codes]) -> Iterator[Constraint]:
    """The columns with fewer levels than one, or as many and after it, that follow from it in all rows (N,)."""
    names = list(levels)
    every = np.stack(list(levels.values()), axis=1)
    every = every[np.argsort(levels[on], kind="stable")]
    sizes = every.max(axis=0, initial=-1) + 1
    i = names.index(on)
    same = (every[1:, i] == every[:-1, i])[:, None]
    both = same & (every[1:] >= 0) & (every[:-1] >= 0)
    follows = ~(both & (every[1:] != every[:-1])).any(axis=0) & (sizes >= 2)
    for j in np.flatnonzero(follows):
        if i != j and (sizes[j], -j) < (sizes[i], -i):
            yield Dependency(on, names[j])


def _levels_whole(table: pa.Table, name: str) -> pa.Table | None:
    """The rows of some levels of a column that has very many, all of each; none where they are hardly shared."""
    every = codes(table[name])
    if _size(every) * EACH > table.num_rows:
        return None
    return table.filter(pa.array(every % max(table.num_rows // SAMPLE, 1) == 0))


def _size(levels: Codes) -> int:
    """How many levels there are."""
    return int(levels.max(initial=-1)) + 1


def _nulls(table: pa.Table, columns: Sequence[Column]) -> Iterator[Constraint]:
    """Columns that are NULL exactly where a category has some of its values."""
    categories = {c.name: codes(table[c.name]) for c in columns if c.kind is Kind.CATEGORY}
    for column in columns:
        empty = np.asarray(pc.is_null(table[column.name]).to_numpy())
        if not 0 < empty.sum() < table.num_rows:
            continue
        for name, levels in categories.items():
            if name == column.name or (levels < 0).any():
                continue
            share = np.bincount(levels, empty) / np.bincount(levels)
            if len(share) <= LEVELS and np.isin(share, (0.0, 1.0)).all() and len(set(share)) == 2:
                texts = plain(table[name]).unique().cast(pa.string()).to_pylist()
                yield NullWhen(
                    column.name, name, tuple(sorted(t for t, s in zip(texts, share, strict=True) if s))
                )
