"""The any-order loop: unconditional sampling, conditional sampling and imputation in one.

They differ only in which cells are visible at the start. B rows, S states that rows share, C columns, K codes
of a column.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tabdar_pipeline.sampling.draws import Draws
from tabdar_pipeline.sampling.engine import Cells, Codes, Condition, Engine, Floats
from tabdar_pipeline.sampling.limits import Limit
from tabdar_pipeline.sampling.memory import Flags, Memory
from tabdar_pipeline.sampling.states import States
from tabdar_pipeline.sampling.ties import Tie, barred
from tabdar_pipeline.sampling.truncated import Parts

EACH = slice(None)


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
    ties: Sequence[Tie] = (),
) -> Completed:
    """Fill the cells that are asked for, column by column in the order of `draws`; all others stay.

    visible, asked: (B, C). A row's cell is drawn given what the row shows and what was drawn before.
    `limits` says, column by column, what must not be drawn, `ties` what does not go together.
    """
    filled = Cells(cells.codes.copy(), cells.values.astype(np.float64))
    evidence, reencodes = np.zeros(len(visible), np.float32), engine.reveal == "paper"
    shown, known, pending = visible.copy(), visible.copy(), _columns(draws.order, visible)
    states = States.at_start(cells, visible, asked)
    with engine.memory(len(visible)) as memory:
        memory.take(states.first)
        for column in _columns(draws.order, asked).tolist():
            seen, first = filled.rows(states.first), states.first
            _remember(engine, memory, pending, shown[first], seen)
            free, limit = engine.ask(memory, column), (limits or {}).get(column)
            condition = Condition(free.z, barred(free.logits, column, seen, known[first], ties, limit))
            rows = np.flatnonzero(asked[:, column])
            evidence[rows] += _draw(engine, filled, column, rows, condition, states, draws, limit)
            known[rows, column] = True
            if reencodes:
                shown[:, column] |= asked[:, column]
                pending = _columns(draws.order, shown)
                memory.clear()
            else:
                shown, pending = asked, np.array([column])
            states = _parted(states, memory, filled, column)
    return Completed(filled, evidence)


def _parted(states: States, memory: Memory, cells: Cells, column: int) -> States:
    """The states now that a column was drawn; the memory follows them."""
    found = states.parted(cells.codes[:, column], cells.values[:, column])
    if found is not states or memory.rows != len(found.first):
        memory.take(states.of[found.first])
    return found


def marginals(
    engine: Engine,
    cells: Cells,
    visible: Flags,
    asked: Flags,
    order: Sequence[int],
    ties: Sequence[Tie] = (),
) -> Iterator[tuple[int, Floats]]:
    """For each column that is asked for, its logits (B, K) given what each row shows, and nothing drawn."""
    with engine.memory(len(visible)) as memory:
        _remember(engine, memory, _columns(order, visible), visible, cells)
        for column in _columns(order, asked):
            logits = engine.ask(memory, int(column)).logits
            yield int(column), barred(logits, int(column), cells, visible, ties)


def _remember(engine: Engine, memory: Memory, columns: Codes, shown: Flags, cells: Cells) -> None:
    """Reveal these columns, where there are any."""
    if len(columns):
        engine.remember(memory, columns, shown[:, columns], cells)


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
    states: States,
    draws: Draws,
    limit: Limit | None,
) -> Floats | float:
    """Draw the column's cells in these rows, codes and then residuals; log probability of the limit."""
    of = EACH if states.apart and len(rows) == len(states.of) else states.of[rows]
    uniform, noise = draws.uniform[rows, column], draws.normal[rows, column]
    if limit is None:
        codes = pick(condition.logits, uniform, of)
        _place(engine, cells, column, rows, codes, condition.z[of], noise)
        return 0.0
    parts = Parts.of(engine, condition, limit, int(engine.offsets[column]))
    weighted = condition.logits[:, limit.codes] + parts.log_mass
    entries = pick(weighted, uniform, of)
    codes, part, z = limit.codes[entries], limit.cut[entries], condition.z[of]
    inside = parts.rows(of).rows(np.flatnonzero(part)).residuals(entries[part], noise[part])
    _place(engine, cells, column, rows[~part], codes[~part], z[~part], noise[~part])
    cells.codes[rows[part], column], cells.values[rows[part], column] = codes[part], inside
    return (logsumexp(weighted) - logsumexp(condition.logits))[of]


def _place(
    engine: Engine, cells: Cells, column: int, rows: Codes, codes: Codes, z: Floats, noise: Floats
) -> None:
    """Write codes into the column, and residuals where a code carries one."""
    cells.codes[rows, column] = codes
    flat = codes + engine.offsets[column]
    dense = engine.continuous[flat]
    if dense.any():
        cells.values[rows[dense], column] = engine.residuals(z[dense], flat[dense], noise[dense])


def pick(logits: Floats, uniform: Floats, of: Codes | slice = EACH) -> Codes:
    """Draw one code a row by inverting the distribution function: (S, K), (B,) -> (B,).

    of: (B,) which logits are a row's; without it, each has its own.

    >>> pick(np.log(np.array([[0.25, 0.75]], np.float32)), np.array([0.3], np.float32))
    array([1])
    """
    by_code = np.ascontiguousarray(logits.T)  # (K, S): what is done code by code is done to whole rows
    share = np.exp(by_code - by_code.max(axis=0))
    for lower, upper in pairwise(share):  # numpy's cumsum is fifteen times slower along this axis
        np.add(lower, upper, out=upper)
    share = share[:, of]
    return np.minimum((share <= uniform * share[-1]).sum(axis=0), len(by_code) - 1)


def logsumexp(logits: Floats) -> Floats:
    """(B, K) -> (B,), of any size."""
    top = logits.max(axis=1)
    return np.asarray(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))
