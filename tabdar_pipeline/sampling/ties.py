"""Codes that go together: what some columns of a row show bars codes of another, whichever is drawn first.

B rows, C columns, N of them tied, M combinations, K codes of a column.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tabdar_pipeline.sampling.engine import Cells, Codes, Floats
from tabdar_pipeline.sampling.limits import Limit
from tabdar_pipeline.sampling.memory import Flags

BARRED = np.float32(-1e30)
_INDEXES = 64  # kept at most: of which columns are shown, and which one is asked for


@dataclass(frozen=True, slots=True)
class Tie:
    """Which codes of some columns go together.

    Of a column with a NULL code here, it only counts whether it is NULL: its combinations hold 1 or 0.
    """

    columns: tuple[int, ...]
    codes: Codes  # (M, N), each combination once
    leads: bool = False  # the others follow from the first column, which is drawn before them
    nulls: tuple[int, ...] = ()  # (N,) the NULL code, or -1 where the codes themselves count
    _indexes: dict[tuple[int, ...], "_Index"] = field(default_factory=dict, compare=False, repr=False)

    def open(self, column: int, cells: Cells, known: Flags, levels: int) -> Flags:
        """(B, K) the codes of a column that go with what rows show; known (B, C)."""
        place = self.columns.index(column)
        shown, codes = known[:, list(self.columns)], self._classes(cells)
        shown[:, place] = False
        found = np.zeros((len(codes), self._size(place, levels)), bool)
        for pattern in np.unique(shown, axis=0):
            rows = np.flatnonzero((shown == pattern).all(axis=1))
            others = tuple(np.flatnonzero(pattern).tolist())
            found[rows] = self._index(others, place).matching(codes[rows][:, others], found.shape[1])
        return found if self._null(place) < 0 else found[:, self._of_codes(place, levels)]

    def within(self, kept: Mapping[int, Codes]) -> "Tie":
        """The combinations whose codes are among those kept, by column."""
        inside = np.ones(len(self.codes), bool)
        for place, column in enumerate(self.columns):
            if column in kept:
                codes, null = kept[column], self._null(place)
                inside &= np.isin(self.codes[:, place], codes if null < 0 else np.unique(codes == null))
        return self if inside.all() else replace(self, codes=self.codes[inside], _indexes={})

    def _classes(self, cells: Cells) -> Codes:
        """(B, N) what counts of the codes that rows show."""
        found = cells.codes[:, list(self.columns)]
        for place in range(len(self.columns)):
            if self._null(place) >= 0:
                found[:, place] = found[:, place] == self._null(place)
        return found

    def _null(self, place: int) -> int:
        return self.nulls[place] if self.nulls else -1

    def _size(self, place: int, levels: int) -> int:
        return levels if self._null(place) < 0 else 2

    def _of_codes(self, place: int, levels: int) -> Codes:
        return (np.arange(levels) == self._null(place)).astype(np.int64)

    def _index(self, others: tuple[int, ...], place: int) -> "_Index":
        key = (*others, -1, place)
        found = self._indexes.get(key)
        if found is None:
            found = _Index.of(self.codes[:, others], self.codes[:, place])
            if len(self._indexes) >= _INDEXES:
                self._indexes.clear()
            self._indexes[key] = found
        return found


@dataclass(frozen=True, slots=True)
class _Index:
    """For each group of codes that rows may show, the codes that go with it."""

    stages: tuple[NDArray[np.int64], ...]  # (G,) groups of the columns so far, ascending, one array a column
    sizes: tuple[int, ...]  # codes of each column
    start: Codes  # (G + 1,) where a group's codes begin
    codes: Codes

    @classmethod
    def of(cls, shown: Codes, asked: Codes) -> "_Index":
        """Of combinations: shown (M, S), asked (M,)."""
        group, stages, sizes = np.zeros(len(shown), np.int64), [], []
        for column in shown.T:
            sizes.append(int(column.max(initial=0)) + 1)
            known, group = np.unique(group * sizes[-1] + column, return_inverse=True)
            stages.append(known)
        size = int(asked.max(initial=0)) + 1
        pairs = np.unique(group * size + asked)
        groups = len(stages[-1]) if stages else 1
        start = np.searchsorted(pairs // size, np.arange(groups + 1))
        return cls(tuple(stages), tuple(sizes), start, pairs % size)

    def matching(self, shown: Codes, levels: int) -> Flags:
        """(B, K) the codes that go with what rows show (B, S)."""
        found = np.zeros((len(shown), levels), bool)
        group, known = np.zeros(len(shown), np.int64), np.full(len(shown), len(self.codes) > 0)
        for column, stage, size in zip(shown.T, self.stages, self.sizes, strict=True):
            wanted = group * size + column
            group = np.minimum(np.searchsorted(stage, wanted), max(len(stage) - 1, 0))
            known &= (column < size) & (stage[group] == wanted) if len(stage) else False
        rows = np.flatnonzero(known)
        first, many = self.start[group[rows]], np.diff(self.start)[group[rows]]
        ahead = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        found[np.repeat(rows, many), self.codes[np.repeat(first, many) + ahead]] = True
        return found


def barred(
    logits: Floats,
    column: int,
    cells: Cells,
    known: Flags,
    ties: Sequence[Tie],
    limit: Limit | None = None,
) -> Floats:
    """Logits (B, K) without the codes that do not go with what a row shows; known (B, C).

    A row to which no code is left, within the limit, is left as it is.
    """
    inside = slice(None) if limit is None else limit.codes
    for tie in ties:
        if column in tie.columns:
            open_ = tie.open(column, cells, known, logits.shape[1])
            if not open_.all():
                open_ |= ~(open_ & (logits > BARRED))[:, inside].any(axis=1, keepdims=True)
                logits = np.where(open_, logits, BARRED)
    return logits


def leaders_first(order: Sequence[int], ties: Sequence[Tie]) -> tuple[int, ...]:
    """The same order, but for columns of which one follows from others: after the first of these, and right after it.

    Whatever else leads to that column is then drawn to go with it; drawn before it, two leaders could ask for two values.

    >>> ties = [Tie((leader, 2), np.zeros((1, 2), np.int64), leads=True) for leader in (0, 3)]
    >>> leaders_first((2, 1, 0, 3), ties)
    (0, 2, 1, 3)
    """
    leaders: dict[int, list[int]] = {}
    followers: dict[int, list[int]] = {}
    for tie in ties:
        for column in tie.columns[1:] if tie.leads else ():
            leaders.setdefault(column, []).append(tie.columns[0])
            followers.setdefault(tie.columns[0], []).append(column)
    place = {column: i for i, column in enumerate(order)}
    found: dict[int, None] = {}

    def visit(column: int, path: frozenset[int]) -> None:
        before = [it for it in leaders.get(column, ()) if it not in path]
        if before and not any(it in found for it in before):
            visit(min(before, key=place.__getitem__), path | {column})
        draw(column)

    def draw(column: int) -> None:
        if column not in found:
            found[column] = None
            for follower in sorted(followers.get(column, ()), key=place.__getitem__):
                draw(follower)

    for column in order:
        visit(column, frozenset())
    return tuple(found)
