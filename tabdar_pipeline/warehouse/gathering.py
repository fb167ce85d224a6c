"""Rows that come in batches, as one table: in memory where they are few, else in a file that may leave it again."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa

IN_MEMORY = 2**28  # bytes of rows that are in no file


def gathered(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """All batches as a table; of more than IN_MEMORY bytes it lies in a file without a name that goes when it does.

    The file lies where TMPDIR says. What the disk has no room for stays in memory.

    >>> rows = pa.table({"a": [1, 2, 3]})
    >>> gathered(rows.to_batches(), rows.schema).equals(rows)
    True
    """
    kept: list[pa.RecordBatch] = []
    coming = iter(batches)
    size = 0
    for batch in coming:
        kept.append(batch)
        size += batch.nbytes
        if size > IN_MEMORY and os.name == "posix":  # elsewhere a file that is mapped cannot lose its name
            return _mapped(chain(kept, coming), schema)
    return pa.Table.from_batches(kept, schema)


def _mapped(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    with tempfile.NamedTemporaryFile(prefix="tabdar-", suffix=".arrow") as file:
        path = Path(file.name)
        rest = _written(batches, schema, path)
        if not path.stat().st_size:
            return pa.Table.from_batches(rest, schema)
        with pa.memory_map(str(path)) as source:
            rows = pa.ipc.open_stream(source).read_all()
    return pa.concat_tables([rows, pa.Table.from_batches(rest, schema)]) if rest else rows


def _written(batches: Iterator[pa.RecordBatch], schema: pa.Schema, path: Path) -> list[pa.RecordBatch]:
    """Write the batches while the disk has room; those for which it has none."""
    whole = 0
    with pa.OSFile(str(path), "wb") as file:
        stream = pa.ipc.new_stream(file, schema)
        for batch in batches:
            try:
                stream.write_batch(batch)
            except OSError:
                os.truncate(path, whole)
                return [batch, *batches]
            whole = file.tell()
    return []
