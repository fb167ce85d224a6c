"""`tabdar contract`: what a table must satisfy, proposed for review."""

from pathlib import Path
from typing import Annotated

import typer

from tabdar_pipeline.cli.options import TableOption


def contract(
    source: Annotated[Path, typer.Argument(help=".parquet, .csv or .duckdb.")],
    table: TableOption = None,
    out: Annotated[Path | None, typer.Option(help="Write the YAML here.")] = None,
) -> None:
    """Propose the contract of a table, for a person to review."""
    from tabdar_pipeline.output import refuse_no_folder, write_text
    from tabdar_pipeline.schemas.contract import Contract
    from tabdar_pipeline.schemas.infer import infer_schema
    from tabdar_pipeline.warehouse.snapshot import read_table

    if out is not None:
        refuse_no_folder(out)
    rows, sql_types = read_table(source, table)
    text = Contract.infer(rows, infer_schema(rows, table or source.stem, sql_types)).to_yaml()
    if out is None:
        typer.echo(text)
    else:
        write_text(out, text)
        typer.echo(f"{out}: review it, and keep it with your code")
