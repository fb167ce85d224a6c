"""Numbers that are sums or products of others: found on a sample, where every row keeps them and chance would not.

N rows, C columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline.schemas.columns import Column, Kind
from tabdar_pipeline.schemas.constraints import Arithmetic, Product, Sum
from tabdar_pipeline.schemas.types import as_floats

Floats = NDArray[np.float64]
ROWS = 100  # fewer show no rule
SAMPLE = 1000  # rows
FIRST = 64  # of them, on which most candidates fail
COLUMNS = 40  # numbers among which parts are sought
DISTINCT = 20  # values that a product must have: on a coarser grid it comes about by chance
NEWS = 0.5  # of the rows must have parts that are neither 0 nor 1
CHANCE = 0.5  # a rule that as many shuffled rows keep is none


def arithmetic(head: pa.Table, columns: Sequence[Column]) -> Iterator[Arithmetic]:
    """Sums of two, then products of two, then sums of more; one a total, and no total among the parts of a longer sum."""
    numbers = [c.name for c in columns if c.kind is Kind.NUMBER][:COLUMNS]
    head = head.slice(0, SAMPLE)
    values = {name: np.asarray(as_floats(head[name]).to_numpy(), np.float64) for name in numbers}
    found: dict[str, Arithmetic] = {}
    for rule in (*_pairs(Sum, values), *_pairs(Product, values)):
        if _new(rule, found) and _held(rule, head, values):
            found[rule.total] = rule
    for total in numbers:
        others = [name for name in numbers if name != total and name not in found]
        if total not in found and len(others) > 2:
            parts = _addends(values[total], np.stack([values[name] for name in others], axis=1))
            long = Sum(total, tuple(others[i] for i in parts), decimals(values[total]))
            if len(parts) > 2 and not long.broken(head).any():
                found[total] = long
    yield from found.values()


def decimals(values: Floats) -> int:
    """Digits after the point that all values (N,) have at most."""
    known = values[np.isfinite(values)]
    return next((d for d in range(9) if np.allclose(np.round(known, d), known, rtol=0, atol=1e-9)), 9)


def _pairs(kind: type[Sum] | type[Product], values: Mapping[str, Floats]) -> Iterator[Arithmetic]:
    """Rules of two parts that the first rows keep."""
    first = {name: column[:FIRST] for name, column in values.items()}
    every = np.stack(list(first.values()), axis=1) if first else np.zeros((0, 0))
    digits = {name: decimals(column) for name, column in values.items()}
    off = np.array([0.51 * 10.0 ** -digits[name] for name in first])
    for one, other in combinations(first, 2):
        whole = first[one] + first[other] if kind is Sum else first[one] * first[other]
        with np.errstate(invalid="ignore"):
            wrong = np.asarray(np.abs(every - whole[:, None]) > off + 1e-9 * np.abs(every))
        for total, broken in zip(first, np.any(wrong, axis=0).tolist(), strict=True):
            if not broken and total not in (one, other):
                yield kind(total, (one, other), digits[total])


def _new(rule: Arithmetic, found: Mapping[str, Arithmetic]) -> bool:
    """Whether it is the first of its total, and no part of it has this total among its own parts."""
    return rule.total not in found and not any(
        part in found and rule.total in found[part].parts for part in rule.parts
    )


def _held(rule: Arithmetic, head: pa.Table, values: Mapping[str, Floats]) -> bool:
    """Whether enough rows keep it, all that can, and shuffled ones do not."""
    cells = [values[name] for name in rule.columns]
    known = np.isfinite(np.stack(cells)).all(axis=0)
    if known.sum() < ROWS or any(np.ptp(column[known]) == 0 for column in cells) or rule.broken(head).any():
        return False
    parts = np.stack([values[name][known] for name in rule.parts])
    dull = (parts == 0) | ((parts == 1) if isinstance(rule, Product) else False)
    few = isinstance(rule, Product) and len(np.unique(cells[0][known])) < DISTINCT
    if few or dull.any(axis=0).mean() > 1 - NEWS:
        return False
    order = np.random.default_rng(0).permutation(known.sum())
    mixed = pa.table([cells[0][known][order], *parts], names=list(rule.columns))
    return bool(1 - rule.broken(mixed).mean() < CHANCE)


def _addends(total: Floats, others: Floats) -> list[int]:
    """The columns (N, C) that add up to the total (N,), by least squares where their weights are one; or none."""
    known = np.isfinite(total) & np.isfinite(others).all(axis=1)
    if known.sum() < max(ROWS, 2 * others.shape[1]) or np.ptp(total[known]) == 0:
        return []
    chosen = np.flatnonzero(np.ptp(others[known], axis=0) > 0)
    design = np.column_stack([others[known][:, chosen], np.ones(known.sum())])
    weights, *_ = np.linalg.lstsq(design, total[known], rcond=None)
    spread = np.abs(weights[:-1]) * others[known][:, chosen].std(axis=0) / total[known].std()
    parts = chosen[spread > 1e-3]
    one = np.abs(weights[:-1][spread > 1e-3] - 1) < 0.02
    return [int(p) for p in parts] if len(parts) and one.all() else []
