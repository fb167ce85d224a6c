"""Rows under limits on several columns: sampling, importance, resampling (Rubin 1988).

A column is drawn inside its limit given the columns before it; what the limits after it will say is
not known yet. So more rows than are needed get these columns, each weighs the probability of the
limits given what it drew, and as many as are needed are chosen by weight. Nothing is rejected.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tabdar_pipeline.sampling.complete import complete
from tabdar_pipeline.sampling.draws import Draws
from tabdar_pipeline.sampling.engine import Cells, Codes, Engine, Floats
from tabdar_pipeline.sampling.limits import Limit
from tabdar_pipeline.sampling.memory import Flags
from tabdar_pipeline.sampling.ties import Tie

SPARE = 3  # rows drawn for each that is needed


def resampled(
    engine: Engine,
    cells: Cells,
    visible: Flags,
    limits: Mapping[int, Limit],
    draws: Draws,
    ties: Sequence[Tie] = (),
) -> Cells:
    """The cells (B, C) with the limited columns drawn; `draws` are of SPARE x B rows."""
    many = np.repeat(np.arange(len(visible)), SPARE)
    asked = np.zeros((len(many), visible.shape[1]), bool)
    asked[:, list(limits)] = True
    given, order = (
        Cells(cells.codes[many], cells.values[many]),
        sorted(limits, key=lambda c: not limits[c].cut.any()),
    )
    drawn = complete(engine, given, visible[many], asked, draws.beginning(order), limits, ties)
    alike = np.where(visible, cells.codes, -1)  # rows that show the same stand for each other
    _, group = np.unique(alike, axis=0, return_inverse=True)
    chosen = choose(drawn.evidence, group[many], draws.uniform[:, 0])
    return Cells(drawn.cells.codes[chosen], drawn.cells.values[chosen])


def choose(evidence: Floats, group: Codes, uniform: Floats) -> Codes:
    """Of every SPARE rows one, by weight within its group: systematic resampling, (B x SPARE,) -> (B,)."""
    chosen = np.empty(len(evidence) // SPARE, np.int64)
    for g in np.unique(group):
        here = np.flatnonzero(group == g)
        weight = np.exp(evidence[here] - evidence[here].max())
        ends = np.cumsum(weight / weight.sum())
        needed = len(here) // SPARE
        points = (np.arange(needed) + uniform[here[0]]) / needed
        picked = np.minimum(np.searchsorted(ends, points), len(here) - 1)
        chosen[np.unique(here // SPARE)] = here[picked]
    return chosen
