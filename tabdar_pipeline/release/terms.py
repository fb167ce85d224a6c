"""What consumers of a release may rely on, column by column: never NULL, unique, one of these values.

The contract says what is meant, and the released rows whether it is so. Levels and extremes of the source are not told:
some of them were kept back on purpose.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tabdar_pipeline.schemas.contract import Contract, Rules


@dataclass(frozen=True, slots=True)
class Terms:
    """Of one column."""

    required: bool  # never NULL
    unique: bool
    values: tuple[str, ...] | None  # of a text with few levels: those that occur; None where any may


def terms(contract: Contract, rows: Path) -> dict[str, dict[str, Any]]:
    """By column, plain values for the manifest; one column of the parquet file is read at a time."""
    found = {}
    for column in contract.schema.columns:
        rules = contract.rules.get(column.name, Rules())
        if column.nullable and not rules.unique and rules.allowed is None:
            found[column.name] = asdict(Terms(required=False, unique=False, values=None))
            continue
        cells = pq.read_table(rows, columns=[column.name], partitioning=None).column(0)
        unique = rules.unique and pc.count_distinct(cells).as_py() == len(cells)
        values = None if rules.allowed is None or not _is_text(cells) else tuple(sorted(Rules.levels(cells)))
        held = Terms(not column.nullable and cells.null_count == 0, unique, values)
        found[column.name] = asdict(held)
    return found


def _is_text(cells: pa.ChunkedArray) -> bool:
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
