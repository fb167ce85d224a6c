"""Foreign keys of a release: each value of a candidate gives way to a key of the released table that it refers to.

A row never refers to a row of the source: real keys are in no release. So the other table is released first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tabdar_pipeline.errors import SourceError, StorageError
from tabdar_pipeline.schemas.constraints import codes, plain
from tabdar_pipeline.warehouse.catalog import carried, types_of
from tabdar_pipeline.warehouse.duckdb import Connection, Warehouse, fact, storage_error
from tabdar_pipeline.warehouse.names import ColumnName, Relation, did_you_mean, identifier, resolved
from tabdar_pipeline.warehouse.releases import Release, in_order, recorded


@dataclass(frozen=True, slots=True)
class Bound:
    """The released column that the values of a foreign key are drawn from, or one of the candidate itself."""

    column: str
    release: str | None  # its identifier; None for the candidate itself
    relation: str | None  # the table of that release
    others: Sequence[str] = ()  # and those of the other partitions of that target

    @property
    def relations(self) -> tuple[str, ...]:
        """Every table that holds its keys; none for the candidate itself."""
        return () if self.relation is None else (self.relation, *self.others)


def released(warehouse: Warehouse, source: str, references: Mapping[str, str]) -> dict[str, Bound]:
    """For each foreign key of `source`, the served release of what it refers to; raises SourceError without one.

    What refers to `source` itself refers to the candidate's own rows.
    """
    if not references:
        return {}
    with warehouse.connect(read_only=True) as connection:
        serving = [it for it in recorded(connection) if it.served and _synthetic(it)]
        return {
            name: _bound(connection, source, name, ColumnName.parse(text), serving)
            for name, text in references.items()
        }


def referable(warehouse: Warehouse, source: str, references: Mapping[str, str]) -> dict[str, str]:
    """Those of the references whose other table has a release, or is `source` itself."""
    if not references:
        return {}
    with warehouse.connect(read_only=True) as connection:
        tables = [_source(it) for it in recorded(connection) if it.served and _synthetic(it)]
    there = [source, *tables]
    return {n: it for n, it in references.items() if resolved(str(ColumnName.parse(it).relation), there)}


def bind(warehouse: Warehouse, rows: Path, bound: Mapping[str, Bound], seed: int | Sequence[int]) -> None:
    """Write the parquet file anew, with a key of the released table for each value of its foreign keys.

    Values meet keys in a random order of the seed, one for one; where there are more values than keys, keys are
    used again.
    """
    if not bound:
        return
    columns = {}
    with warehouse.connect(read_only=True) as connection:
        for name, it in bound.items():
            try:
                columns[name] = _keys(connection, rows, name, it, seed)
            except duckdb.Error as error:
                raise SourceError(
                    f"column {name!r} must take keys of {it.relation or 'its own table'}, however: {fact(error)}. "
                    "Correct what it references, or publish that table again."
                ) from error
    _replace(rows, columns)


def _synthetic(release: Release) -> bool:
    return release.manifest.get("kind", "synthetic") == "synthetic"


def _source(release: Release) -> str:
    """The table that a release was made from; empty where its manifest does not say."""
    return str(release.manifest.get("source", {}).get("table", ""))


def _bound(
    connection: Connection, source: str, name: str, reference: ColumnName, serving: list[Release]
) -> Bound:
    table = str(reference.relation)
    if resolved(table, [source]):
        return Bound(reference.name, None, None)
    of_it = [it for it in serving if resolved(table, [_source(it)])]
    if not of_it:
        raise SourceError(
            f"table {source!r}, column {name!r}: what it references must be released first, however "
            f"{table!r} has no release in this warehouse. Release it, or make the column another kind "
            "in the contract."
        )
    target = max(of_it, key=lambda it: it.created).target
    first, *others = in_order([it for it in of_it if it.target == target])
    have = list(types_of(connection, f"SELECT * FROM {Relation.parse(first.relation).sql}"))
    column = resolved(reference.name, have)
    if column is None:
        raise SourceError(
            f"table {source!r}, column {name!r}: what it references must be in the release, however "
            f"{first.identifier} has no column {reference.name!r}. {did_you_mean(reference.name, have)}"
        )
    label = ", ".join([first.identifier, *(f"r{it.number:04d}" for it in others)])
    return Bound(column, label, first.relation, tuple(it.relation for it in others))


def _keys(
    connection: Connection, rows: Path, name: str, it: Bound, seed: int | Sequence[int]
) -> pa.ChunkedArray:
    """(N,) the keys, in the order of the rows; NULL where the value is."""
    numbers = codes(_column(rows, name))
    keys = _known(connection, rows, it)
    if not len(keys):
        raise SourceError(
            f"column {name!r} must refer to rows, however {it.release} has none with a key. Release it again."
        )
    order = np.random.default_rng(seed).permutation(len(keys))
    return keys.take(pa.array(order[numbers % len(keys)], mask=numbers < 0))


def _known(connection: Connection, rows: Path, it: Bound) -> pa.ChunkedArray:
    """The keys that can be referred to, each once, in their own order."""
    if it.relation is None:
        keys = plain(_column(rows, it.column)).unique().drop_null()
        return pa.chunked_array([keys.sort()])
    tables, column = [Relation.parse(text) for text in it.relations], identifier(it.column)
    every = " UNION ALL ".join(
        carried(table, types_of(connection, f"SELECT {column} FROM {table.sql}")) for table in tables
    )
    query = f"SELECT DISTINCT * FROM ({every}) WHERE {column} IS NOT NULL ORDER BY ALL"
    return connection.sql(query).to_arrow_table().column(0)


def _column(rows: Path, name: str) -> pa.ChunkedArray:
    return pq.ParquetFile(rows).read([name]).column(0)


def _replace(path: Path, columns: Mapping[str, pa.ChunkedArray]) -> None:
    """The file with these columns (N,), row group by row group."""
    partial = path.with_name(f".{path.name}-{uuid4().hex[:8]}")
    try:
        with (
            pq.ParquetFile(path) as source,
            pq.ParquetWriter(partial, source.schema_arrow, compression="zstd") as writer,
        ):
            done = 0
            for batch in source.iter_batches():
                table = pa.Table.from_batches([batch])
                for name, keys in columns.items():
                    field = table.schema.field(name)
                    own = keys.slice(done, batch.num_rows).cast(field.type)
                    table = table.set_column(table.column_names.index(name), field, own)
                writer.write_table(table)
                done += batch.num_rows
        partial.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error
    except pa.ArrowInvalid as error:
        raise StorageError(
            f"foreign keys {', '.join(map(repr, columns))} must have the type of what they reference, however: "
            f"{fact(error)}. Correct the contract."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
