"""`tabdar impute`: a table's missing cells are filled."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tabdar_pipeline.cli.options import (
    JsonOption,
    PointName,
    SeedOption,
    TableOption,
    kept_unseen,
    still_missing,
)
from tabdar_pipeline.console import progress_bar, say

if TYPE_CHECKING:
    import pyarrow as pa

    from tabdar_pipeline.imputation import Request
    from tabdar_pipeline.output import Write
    from tabdar_pipeline.runtime import Sampler


def impute(
    model_dir: Annotated[Path, typer.Argument(help="A model that `tabdar fit` wrote.")],
    source: Annotated[Path, typer.Argument(help=".parquet, .csv or .duckdb with missing cells.")],
    out: Annotated[Path, typer.Argument(help=".parquet, .csv or .duckdb to write.")],
    point: Annotated[
        PointName, typer.Option(help="A draw for each missing cell, or an estimate; of categories, the mode.")
    ] = PointName.draw,
    draws: Annotated[
        int, typer.Option(min=1, max=1000, help="Copies of the table, numbered in a column `draw`.")
    ] = 1,
    columns: Annotated[
        str | None, typer.Option(help="Columns to fill, with commas between; all where not given.")
    ] = None,
    intervals: Annotated[
        float | None,
        typer.Option(
            help="Write beside OUT, as OUT__intervals, between what each filled number lies with this probability."
        ),
    ] = None,
    seed: SeedOption = 0,
    table: TableOption = None,
    out_table: Annotated[
        str | None, typer.Option(help="schema.table of OUT, where it is a database.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fill missing cells; observed cells and columns that the model does not know stay as they are."""
    from tabdar_pipeline.imputation import Request, numbered_schema
    from tabdar_pipeline.intervals import interval_schema, refuse_level
    from tabdar_pipeline.output import refuse_unwritable, writer
    from tabdar_pipeline.runtime import OnnxSampler
    from tabdar_pipeline.schemas.conformity import carrying
    from tabdar_pipeline.warehouse.snapshot import read_table

    chosen = None if columns is None else tuple(name.strip() for name in columns.split(","))
    request = Request(seed, point.value, chosen, draws)
    refuse_unwritable(out, out_table, source=source)
    beside = _beside(out, out_table)
    if intervals is not None:
        refuse_level(intervals)
        refuse_unwritable(beside.out, beside.table, source=source)
    sampler = OnnxSampler.load(model_dir)
    request.refuse_unmodelled(sampler.schema)
    rows, sql_types = read_table(source, table)
    written = numbered_schema(carrying(sampler.schema, rows, sql_types), draws)
    with writer(out, written, out_table) as write:
        left = _fill(sampler, rows, request, write)
    if intervals is not None:
        with writer(beside.out, interval_schema(sampler.schema), beside.table) as write:
            for batch in sampler.intervals(rows, request, intervals).to_batches():
                write(batch)
    unseen, still = sampler.unseen(rows), {name: cells for name, cells in left.items() if cells}
    cells = sum(column.null_count for column in rows.columns) - sum(still.values())
    facts = {
        "out": str(out),
        "rows": rows.num_rows,
        "cells": cells,
        "left": still,
        "draws": draws,
        "unseen": unseen,
    }
    say(
        facts,
        f"{out}: {cells:,} cells filled{still_missing(still)}{kept_unseen(unseen)}",
        as_json=as_json,
    )


def _fill(sampler: "Sampler", rows: "pa.Table", request: "Request", write: "Write") -> dict[str, int]:
    """Write each filled copy; the cells of each column that are missing still."""
    from tabdar_pipeline.imputation import numbered

    left = dict[str, int]()
    with progress_bar("imputing") as tell:
        copies = sampler.impute(
            rows, request, lambda done, all_: tell(done / all_, f"{done:,} of {all_:,} rows")
        )
        for draw, filled in enumerate(copies):
            left = {name: filled[name].null_count for name in filled.column_names}
            for batch in numbered(filled, draw, request.draws).to_batches():
                write(batch)
    return left


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a table is written."""

    out: Path
    table: str | None


def _beside(out: Path, table: str | None) -> _Place:
    """Where the intervals of a filled table lie: a file beside its own, or a table in the same database."""
    from tabdar_pipeline.warehouse.names import Relation

    if table is not None:
        return _Place(out, str(Relation.parse(table).beside("intervals")))
    return _Place(out.with_name(f"{out.stem}__intervals{out.suffix}"), None)
