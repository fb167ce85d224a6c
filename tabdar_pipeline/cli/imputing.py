"""`tabdar impute`: a table's missing cells are filled."""

from pathlib import Path
from typing import Annotated

import typer

from tabdar_pipeline.cli.options import JsonOption, PointName, SeedOption, TableOption, kept_unseen
from tabdar_pipeline.console import progress_bar, say
from tabdar_pipeline.errors import UsageError


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
    seed: SeedOption = 0,
    table: TableOption = None,
    out_table: Annotated[
        str | None, typer.Option(help="schema.table of OUT, where it is a database.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fill missing cells; observed cells stay as they are."""
    from tabdar_pipeline.imputation import Request, numbered, numbered_schema
    from tabdar_pipeline.output import refuse_unwritable, writer
    from tabdar_pipeline.runtime import OnnxSampler
    from tabdar_pipeline.warehouse.snapshot import read_table

    chosen = tuple(name.strip() for name in columns.split(",")) if columns else None
    request = Request(seed, point.value, chosen, draws)
    refuse_unwritable(out, out_table, source=source)
    sampler = OnnxSampler.load(model_dir)
    rows, _ = read_table(source, table)
    missing = [c for c in sampler.schema.names if c not in rows.column_names]
    if missing:
        raise UsageError(
            f"{str(source)!r} must have the model's columns, however it lacks {', '.join(map(repr, missing))}. "
            "Add them, all NULL where they are not known."
        )
    rows = rows.select(sampler.schema.names)
    before, left, written = sum(c.null_count for c in rows.columns), 0, numbered_schema(sampler.schema, draws)
    with progress_bar("imputing") as tell, writer(out, written, out_table) as write:
        copies = sampler.impute(
            rows, request, lambda done, all_: tell(done / all_, f"{done:,} of {all_:,} rows")
        )
        for draw, filled in enumerate(copies):
            left = sum(c.null_count for c in filled.columns)
            for batch in numbered(filled, draw, draws).to_batches():
                write(batch)
    unseen = sampler.unseen(rows)
    say(
        {"out": str(out), "rows": rows.num_rows, "cells": before - left, "draws": draws, "unseen": unseen},
        f"{out}: {before - left:,} cells filled{kept_unseen(unseen)}",
        as_json=as_json,
    )
