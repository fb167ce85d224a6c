"""Long samples in parts: what was drawn before a crash is not drawn again.

A part is a run of seed blocks, a parquet file that is whole or not there, in a hidden folder beside OUT. It
is a function of the model, the seed and its number, so that a later run may draw the ones that are missing.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from tabdar_pipeline.output import writer
from tabdar_pipeline.sampling.draws import BLOCK_ROWS
from tabdar_pipeline.schemas.table import TableSchema

PART_BLOCKS = 256
PART_ROWS = PART_BLOCKS * BLOCK_ROWS


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one sample: some may be there from a run that was cut off."""

    folder: Path
    rows: int

    @classmethod
    def beside(cls, out: Path, rows: int, job: Mapping[str, Any]) -> Self:
        """Those of this job; what another job left for the same OUT goes."""
        folder = out.parent / f".{out.name}.parts"
        note, text = folder / "job.json", json.dumps(dict(job), sort_keys=True)
        if not note.is_file() or note.read_text(encoding="utf-8") != text:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            note.write_text(text, encoding="utf-8")
        return cls(folder, rows)

    @property
    def count(self) -> int:
        """How many there are when all are drawn."""
        return -(-self.rows // PART_ROWS)

    def missing(self) -> list[int]:
        """The numbers of those that are not drawn yet."""
        return [part for part in range(self.count) if not self._path(part).is_file()]

    def size(self, part: int) -> int:
        """The rows of a part."""
        return min(PART_ROWS, self.rows - part * PART_ROWS)

    def blocks(self, part: int) -> range:
        """The seed blocks of a part."""
        last = -(-self.rows // BLOCK_ROWS)
        return range(part * PART_BLOCKS, min((part + 1) * PART_BLOCKS, last))

    def write(self, part: int, batches: Iterator[pa.RecordBatch], schema: TableSchema) -> Iterator[int]:
        """Write a part, whole or not at all; the rows of each batch as it comes."""
        with writer(self._path(part), schema) as write:
            for batch in batches:
                write(batch)
                yield batch.num_rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, in order."""
        for part in range(self.count):
            with pq.ParquetFile(self._path(part)) as file:
                yield from file.iter_batches()

    def remove(self) -> None:
        """When OUT is written, they are of no use."""
        shutil.rmtree(self.folder)

    def _path(self, part: int) -> Path:
        return self.folder / f"{part:05}.parquet"
