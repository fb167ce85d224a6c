"""The any-order loop: unconditional sampling, conditional sampling and imputation in one.

They differ only in which cells are visible at the start. B rows, C columns, K codes of a column.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tabdar_pipeline.sampling.draws import Draws
from tabdar_pipeline.sampling.engine import Cells, Codes, Engine, Floats
from tabdar_pipeline.sampling.memory import Flags


def complete(
    engine: Engine,
    cells: Cells,
    visible: Flags,
    asked: Flags,
    draws: Draws,
    barred: Mapping[int, Flags] | None = None,
) -> Cells:
    """Fill the cells that are asked for, column by column in the order of `draws`; all others stay.

    visible, asked: (B, C). A row's cell is drawn given what the row shows and what was drawn before.
    `barred` names, for a column, the codes (K,) that must not be drawn.
    """
    filled = Cells(cells.codes.copy(), cells.values.copy())
    memory, reencodes = engine.start(len(visible)), engine.reveal == "paper"
    shown, pending = visible.copy(), _columns(draws.order, visible)
    for column in _columns(draws.order, asked):
        condition = engine.step(memory, pending, shown[:, pending], filled, int(column))
        logits = _bar(condition.logits, (barred or {}).get(int(column)))
        _draw(engine, filled, int(column), np.flatnonzero(asked[:, column]), condition.z, logits, draws)
        if reencodes:
            shown[:, column] |= asked[:, column]
            pending = _columns(draws.order, shown)
        else:
            memory.add(condition.fresh, shown[:, pending])
            shown, pending = asked, np.array([column])
    return filled


def marginals(
    engine: Engine, cells: Cells, visible: Flags, asked: Flags, order: Sequence[int]
) -> Iterator[tuple[int, Floats]]:
    """For each column that is asked for, its logits (B, K) given what each row shows, and nothing drawn."""
    memory, reencodes = engine.start(len(visible)), engine.reveal == "paper"
    pending = _columns(order, visible)
    for column in _columns(order, asked):
        condition = engine.step(memory, pending, visible[:, pending], cells, int(column))
        yield int(column), condition.logits
        if not reencodes:
            memory.add(condition.fresh, visible[:, pending])
            pending = pending[:0]


def _columns(order: Sequence[int], flags: Flags) -> Codes:
    """The columns that any row flags, in this order."""
    some = np.flatnonzero(flags.any(axis=0))
    return np.array([c for c in order if c in some], dtype=np.int64)


def _draw(
    engine: Engine, cells: Cells, column: int, rows: Codes, z: Floats, logits: Floats, draws: Draws
) -> None:
    """Draw the column's cells in these rows: codes, then the residuals of those that carry one."""
    codes = pick(logits[rows], draws.uniform[rows, column])
    cells.codes[rows, column] = codes
    flat = codes + engine.offsets[column]
    dense = engine.continuous[flat]
    if dense.any():
        rows, flat = rows[dense], flat[dense]
        cells.values[rows, column] = engine.residuals(z[rows], flat, draws.normal[rows, column])


def pick(logits: Floats, uniform: Floats) -> Codes:
    """Draw one code a row by inverting the distribution function: (B, K), (B,) -> (B,).

    >>> pick(np.log(np.array([[0.25, 0.75]], np.float32)), np.array([0.3], np.float32))
    array([1])
    """
    weight = np.exp(logits - logits.max(axis=1, keepdims=True))
    share = np.cumsum(weight, axis=1)
    code = (share <= uniform[:, None] * share[:, -1:]).sum(axis=1)
    return np.minimum(code, logits.shape[1] - 1).astype(np.int64)


def _bar(logits: Floats, barred: Flags | None) -> Floats:
    return logits if barred is None else np.where(barred, np.float32(-1e9), logits)
