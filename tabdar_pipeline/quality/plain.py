"""Tables made comparable: numbers as floats, categories as codes of one vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline.schemas.columns import Kind
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.schemas.types import as_floats

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
MISSING = "<missing>"
_SMALL = 1e-100


@dataclass(frozen=True, slots=True)
class Plain:
    """N rows of P numbers and Q categories."""

    numbers: Floats  # (N, P), missing ones filled with the training median; extreme ones over a unit
    codes: Codes  # (N, Q)
    levels: tuple[int, ...]  # (Q,) sizes of the shared vocabularies
    number_names: tuple[str, ...]
    category_names: tuple[str, ...]

    def __len__(self) -> int:
        """N, the number of rows."""
        return len(self.codes)

    def take(self, rows: NDArray[np.intp]) -> "Plain":
        """These rows."""
        return Plain(
            self.numbers[rows], self.codes[rows], self.levels, self.number_names, self.category_names
        )

    def sample(self, rows: int, rng: np.random.Generator) -> "Plain":
        """No more than so many rows, at random."""
        return self if len(self) <= rows else self.take(rng.permutation(len(self))[:rows])

    @property
    def names(self) -> tuple[str, ...]:
        """Numbers first, then categories."""
        return self.number_names + self.category_names


def plain(tables: Sequence[pa.Table], schema: TableSchema) -> list[Plain]:
    """The modelled columns of several tables; medians are those of the first."""
    numbers = [c.name for c in schema.modelled if c.kind is not Kind.CATEGORY]
    categories = [c.name for c in schema.modelled if c.kind is Kind.CATEGORY]
    first = {name: _number(tables[0][name]) for name in numbers}
    medians = {name: _median(values) for name, values in first.items()}
    units = {name: _unit(values) for name, values in first.items()}
    coded = {name: _codes([table[name] for table in tables]) for name in categories}
    levels = tuple(int(max(c.max(initial=-1) for c in coded[name])) + 1 for name in categories)
    found = []
    for i, table in enumerate(tables):
        filled = [
            np.nan_to_num(_number(table[n]), nan=medians[n], posinf=medians[n], neginf=medians[n]) / units[n]
            for n in numbers
        ]
        codes = [coded[n][i] for n in categories]
        found.append(
            Plain(
                np.stack(filled, axis=1) if filled else np.zeros((table.num_rows, 0)),
                np.stack(codes, axis=1) if codes else np.zeros((table.num_rows, 0), np.int64),
                levels,
                tuple(numbers),
                tuple(categories),
            )
        )
    return found


def one_hot(it: Plain, scale: Plain) -> NDArray[np.float32]:
    """Numbers scaled to the range of `scale`, categories one-hot: (N, P + sum of levels)."""
    low = scale.numbers.min(axis=0, initial=np.inf)
    span = scale.numbers.max(axis=0, initial=-np.inf) - low
    parts = [(it.numbers - low) / np.where(span > 0, span, 1)] if it.numbers.shape[1] else []
    parts += [np.eye(k)[it.codes[:, q]] for q, k in enumerate(it.levels)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _number(values: pa.ChunkedArray) -> Floats:
    if pa.types.is_temporal(values.type):
        values = values.cast(pa.timestamp("us"), safe=False) if not pa.types.is_time(values.type) else values
        values = values.cast(pa.int64(), safe=False)
    return np.asarray(as_floats(values).to_numpy(), dtype=np.float64)


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0


def _unit(values: Floats) -> float:
    """What a column is divided by, so that its squares neither overflow nor vanish.

    >>> _unit(np.array([1e-310, np.nan])), _unit(np.array([-3.0, 1e300])), _unit(np.array([2.0]))
    (1e-310, 1e+300, 1.0)
    """
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    return 1.0 if largest == 0 or _SMALL < largest < 1 / _SMALL else largest


def _codes(columns: Sequence[pa.ChunkedArray]) -> list[Codes]:
    """Codes of one vocabulary over all tables; missing is a level."""
    texts = [_text(column) for column in columns]
    codes, _ = pd.factorize(np.concatenate(texts))
    ends = np.cumsum([len(t) for t in texts])[:-1]
    return [part.astype(np.int64) for part in np.split(codes, ends)]


def _text(values: pa.ChunkedArray) -> NDArray[np.object_]:
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return values.cast(pa.string()).fill_null(MISSING).to_numpy()
