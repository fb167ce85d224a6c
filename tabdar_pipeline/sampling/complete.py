"""The any-order loop: unconditional sampling, conditional sampling and imputation in one.

They differ only in which cells are visible at the start. B rows, C columns, K codes of a column.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tabdar_pipeline.sampling.draws import Draws
from tabdar_pipeline.sampling.engine import Cells, Codes, Condition, Engine, Floats
from tabdar_pipeline.sampling.limits import Limit
from tabdar_pipeline.sampling.memory import Flags, Memory
from tabdar_pipeline.sampling.pairs import Pair, barred
from tabdar_pipeline.sampling.truncated import Parts


@dataclass(frozen=True, slots=True)
class Completed:
    """Cells that were drawn, and how likely their limits were."""

    cells: Cells
    evidence: Floats  # (B,) log probability of the limits, each given what was drawn before it


def complete(
    engine: Engine,
    cells: Cells,
    visible: Flags,
    asked: Flags,
    draws: Draws,
    limits: Mapping[int, Limit] | None = None,
    pairs: Sequence[Pair] = (),
) -> Completed:
    """Fill the cells that are asked for, column by column in the order of `draws`; all others stay.

    visible, asked: (B, C). A row's cell is drawn given what the row shows and what was drawn before.
    `limits` says, column by column, what must not be drawn, `pairs` what does not go together.
    """
    filled = Cells(cells.codes.copy(), cells.values.copy())
    evidence, reencodes = np.zeros(len(visible), np.float32), engine.reveal == "paper"
    shown, known, pending = visible.copy(), visible.copy(), _columns(draws.order, visible)
    with engine.memory(len(visible)) as memory:
        for column in _columns(draws.order, asked):
            _remember(engine, memory, pending, shown, filled)
            free = _ask(engine, memory, int(column), len(visible))
            rows, limit = np.flatnonzero(asked[:, column]), (limits or {}).get(int(column))
            condition = Condition(free.z, barred(free.logits, int(column), filled, known, pairs, limit))
            evidence[rows] += _draw(engine, filled, int(column), rows, condition, draws, limit)
            known[rows, column] = True
            if reencodes:
                memory.clear()
                shown[:, column] |= asked[:, column]
                pending = _columns(draws.order, shown)
            else:
                shown, pending = asked, np.array([column])
    return Completed(filled, evidence)


def marginals(
    engine: Engine,
    cells: Cells,
    visible: Flags,
    asked: Flags,
    order: Sequence[int],
    pairs: Sequence[Pair] = (),
) -> Iterator[tuple[int, Floats]]:
    """For each column that is asked for, its logits (B, K) given what each row shows, and nothing drawn."""
    with engine.memory(len(visible)) as memory:
        _remember(engine, memory, _columns(order, visible), visible, cells)
        for column in _columns(order, asked):
            logits = _ask(engine, memory, int(column), len(visible)).logits
            yield int(column), barred(logits, int(column), cells, visible, pairs)


def _remember(engine: Engine, memory: Memory, columns: Codes, shown: Flags, cells: Cells) -> None:
    """Reveal these columns, where there are any."""
    if len(columns):
        engine.remember(memory, columns, shown[:, columns], cells)


def _ask(engine: Engine, memory: Memory, column: int, rows: int) -> Condition:
    """Ask for a column; where nothing was revealed, one row stands for all."""
    if memory.filled:
        return engine.ask(memory, column)
    with engine.memory(1) as nothing:
        one = engine.ask(nothing, column)
    return Condition(one.z.repeat(rows, axis=0), one.logits.repeat(rows, axis=0))


def _columns(order: Sequence[int], flags: Flags) -> Codes:
    """The columns that any row flags, in this order."""
    some = np.flatnonzero(flags.any(axis=0))
    return np.array([c for c in order if c in some], dtype=np.int64)


def _draw(
    engine: Engine,
    cells: Cells,
    column: int,
    rows: Codes,
    condition: Condition,
    draws: Draws,
    limit: Limit | None,
) -> Floats | float:
    """Draw the column's cells in these rows, codes and then residuals; log probability of the limit."""
    z, logits = (part if len(rows) == len(part) else part[rows] for part in (condition.z, condition.logits))
    uniform, noise = draws.uniform[rows, column], draws.normal[rows, column]
    if limit is None:
        codes = pick(logits, uniform)
        _place(engine, cells, column, rows, codes, z, noise)
        return 0.0
    parts = Parts.of(engine, z, limit, int(engine.offsets[column]))
    weighted = logits[:, limit.codes] + parts.log_mass
    entries = pick(weighted, uniform)
    codes = limit.codes[entries]
    _place(engine, cells, column, rows, codes, z, parts.noise(entries, noise))
    cells.values[rows, column] = np.clip(cells.values[rows, column], limit.low[entries], limit.high[entries])
    return _logsumexp(weighted) - _logsumexp(logits)


def _place(
    engine: Engine, cells: Cells, column: int, rows: Codes, codes: Codes, z: Floats, noise: Floats
) -> None:
    """Write codes into the column, and residuals where a code carries one."""
    cells.codes[rows, column] = codes
    flat = codes + engine.offsets[column]
    dense = engine.continuous[flat]
    if dense.any():
        cells.values[rows[dense], column] = engine.residuals(z[dense], flat[dense], noise[dense])


def pick(logits: Floats, uniform: Floats) -> Codes:
    """Draw one code a row by inverting the distribution function: (B, K), (B,) -> (B,).

    >>> pick(np.log(np.array([[0.25, 0.75]], np.float32)), np.array([0.3], np.float32))
    array([1])
    """
    weight = np.exp(logits - logits.max(axis=1, keepdims=True))
    share = np.cumsum(weight, axis=1)
    code = (share <= uniform[:, None] * share[:, -1:]).sum(axis=1)
    return np.minimum(code, logits.shape[1] - 1).astype(np.int64)


def _logsumexp(logits: Floats) -> Floats:
    top = logits.max(axis=1)
    return np.asarray(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))
