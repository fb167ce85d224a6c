"""The any-order loop: unconditional sampling, conditional sampling and imputation in one.

They differ only in which cells are visible at the start. B rows, C columns, K codes of a column.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tabdar_pipeline.sampling.draws import Draws
from tabdar_pipeline.sampling.engine import Cells, Codes, Engine, Floats


def complete(
    engine: Engine,
    cells: Cells,
    visible: Sequence[int],
    draws: Draws,
    barred: Mapping[int, NDArray[np.bool_]] | None = None,
) -> Cells:
    """Fill the columns that are not visible, in the order of `draws`; the visible stay as they are.

    `barred` names, for a column, the codes (K,) that must not be drawn.
    """
    codes, values = cells.codes.copy(), cells.values.copy()
    filled = Cells(codes, values)
    memory, reencodes = engine.start(len(codes)), engine.reveal == "paper"
    seen = [c for c in draws.order if c in set(visible)]
    pending = list(seen)
    for column in (c for c in draws.order if c not in set(visible)):
        columns = np.array(seen if reencodes else pending, dtype=np.int64)
        condition = engine.step(memory, columns, filled, column)
        logits = _bar(condition.logits, (barred or {}).get(column))
        codes[:, column] = pick(logits, draws.uniform[: len(codes), column])
        flat = codes[:, column] + engine.offsets[column]
        rows = np.flatnonzero(engine.continuous[flat])
        if len(rows):
            noise = draws.normal[rows, column]
            values[rows, column] = engine.residuals(condition.z[rows], flat[rows], noise)
        if not reencodes:
            memory.add(condition.fresh)
        pending = [column]
        seen.append(column)
    return filled


def pick(logits: Floats, uniform: Floats) -> Codes:
    """Draw one code a row by inverting the distribution function: (B, K), (B,) -> (B,).

    >>> pick(np.log(np.array([[0.25, 0.75]], np.float32)), np.array([0.3], np.float32))
    array([1])
    """
    weight = np.exp(logits - logits.max(axis=1, keepdims=True))
    share = np.cumsum(weight, axis=1)
    code = (share <= uniform[:, None] * share[:, -1:]).sum(axis=1)
    return np.minimum(code, logits.shape[1] - 1).astype(np.int64)


def _bar(logits: Floats, barred: NDArray[np.bool_] | None) -> Floats:
    return logits if barred is None else np.where(barred, np.float32(-1e9), logits)
