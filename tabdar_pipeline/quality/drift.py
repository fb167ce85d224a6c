"""How far a table has moved from an earlier state of itself: by column and jointly, beside what chance shows.

Chance: two random halves of the earlier state. Every figure is computed once for such halves (the floor) and
once with the later state in the place of the second half. Rows that both states have fall on the same side, so
no row is compared with itself, and rows that were merely added or removed cannot hide behind those that stayed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline.quality import detection
from tabdar_pipeline.quality.fidelity import shape_errors
from tabdar_pipeline.quality.plain import Plain, plain
from tabdar_pipeline.schemas.table import TableSchema

if TYPE_CHECKING:
    import pandas as pd

ROWS = 20_000  # of each state that are compared at most
SPLITS = 9  # of which the largest is the floor of a column
TREES = 2  # splits on which trees are trained
_SPREAD = 2.0  # standard errors that trees are granted beside
LEAST = 2 * detection.FOLDS  # rows in a half, or trees learn nothing


@dataclass(frozen=True, slots=True)
class Drift:
    """Each figure beside its floor: means over random splits, and the largest that chance showed."""

    columns: Mapping[str, float]  # percent: Kolmogorov-Smirnov distance or total variation
    columns_floor: Mapping[str, float]
    joint: float  # ROC AUC of boosted trees that tell the later rows from the earlier ones
    joint_floor: float  # never less than two standard errors: few splits are trained on
    rows: tuple[int, int]  # before, after

    @property
    def beyond(self) -> dict[str, float]:
        """Percent points above the floor, by column, the largest first."""
        excess = {n: max(0.0, it - self.columns_floor[n]) for n, it in self.columns.items()}
        return dict(sorted(excess.items(), key=lambda it: -it[1]))

    @property
    def joint_beyond(self) -> float:
        """AUC above the floor."""
        return max(0.0, self.joint - self.joint_floor)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def drift(before: pa.Table, after: pa.Table, schema: TableSchema, seed: int = 0) -> Drift:
    """Compare two states of one table; seeded, and of no more than so many rows of each.

    >>> table = pa.table({"a": list(range(100)) * 2, "b": ["x", "y"] * 100})
    >>> from tabdar_pipeline.schemas.infer import infer_schema
    >>> max(drift(table, table, infer_schema(table, "t")).beyond.values())
    0.0
    """
    states = plain([before, after], schema)
    numbers = [_numbers(table) for table in (before, after)]
    share = min(1.0, ROWS / max(len(state) for state in states))
    rng = np.random.default_rng(seed)
    kept = [_places(n, int(rng.integers(2**32))) < share for n in numbers] if share < 1 else None
    found: list[dict[str, float]] = []
    floors: list[dict[str, float]] = []
    told, chance = list[float](), [0.5]
    for split in range(SPLITS):
        salt = int(rng.integers(2**32))
        (here, there), (_, later) = (
            _halves(state, _places(n, salt), None if kept is None else kept[i])
            for i, (state, n) in enumerate(zip(states, numbers, strict=True))
        )
        if min(len(here), len(there), len(later)) < LEAST:
            continue
        floors.append(shape_errors(here, there))
        found.append(shape_errors(here, later))
        if split < TREES:
            told.append(_told(here, later, rng))
            chance += [_told(here, there, rng), 0.5 + _SPREAD * _error(len(here), len(later))]
    names = states[0].names if found else ()
    return Drift(
        {n: float(np.mean([f[n] for f in found])) for n in names},
        {n: max(f[n] for f in floors) for n in names},
        float(np.mean(told)) if told else 0.5,
        max(chance),
        (before.num_rows, after.num_rows),
    )


def _error(n: int, m: int) -> float:
    """The standard error of an AUC of n and m rows that are alike (Mann and Whitney).

    >>> round(_error(400, 400), 3)
    0.02
    """
    return sqrt((n + m + 1) / (12 * n * m))


def _told(real: Plain, other: Plain, rng: np.random.Generator) -> float:
    size = min(len(real), len(other))
    seed = int(rng.integers(2**32))
    return detection.c2st_boosted(real.sample(size, rng), other.sample(size, rng), seed)


def _halves(it: Plain, places: NDArray[np.float64], kept: NDArray[np.bool_] | None) -> tuple[Plain, Plain]:
    rows = np.ones(len(it), bool) if kept is None else kept
    return it.take(np.flatnonzero(rows & (places < 0.5))), it.take(np.flatnonzero(rows & (places >= 0.5)))


def _numbers(table: pa.Table) -> "pd.DataFrame":
    """A hash of each row, and which of the rows of that hash it is: equal rows are told apart, in any state alike."""
    from pandas import DataFrame
    from pandas.util import hash_pandas_object

    hashes = hash_pandas_object(table.to_pandas(), index=False)
    return DataFrame({"hash": hashes, "nth": hashes.groupby(hashes).cumcount()})


def _places(numbers: "pd.DataFrame", salt: int) -> NDArray[np.float64]:
    """Where each row falls in [0, 1): uniform, and the same for the same row of another state."""
    from pandas.util import hash_pandas_object

    hashes = hash_pandas_object(numbers.assign(salt=salt), index=False)
    return np.asarray(hashes.to_numpy(np.uint64) / 2.0**64)
