"""`tabdar contract`: what a table must satisfy, proposed for review, and how far a source has drifted from it."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tabdar_pipeline.cli.options import JsonOption, TableOption
from tabdar_pipeline.console import say


class _Proposing(TyperGroup):
    """`tabdar contract SOURCE` is `tabdar contract propose SOURCE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["propose", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_Proposing, no_args_is_help=True, help="What a table must satisfy, for review.")
Source = Annotated[Path, typer.Argument(help=".parquet, .csv or .duckdb.")]


@app.command()
def propose(
    source: Source,
    table: TableOption = None,
    out: Annotated[Path | None, typer.Option(help="Write the YAML here.")] = None,
) -> None:
    """Propose the contract of a table, for a person to review; `propose` need not be said."""
    from tabdar_pipeline.output import refuse_no_folder, write_text
    from tabdar_pipeline.schemas.contract import Contract
    from tabdar_pipeline.schemas.infer import infer_schema
    from tabdar_pipeline.warehouse.catalog import describe
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.snapshot import read_table

    if out is not None:
        refuse_no_folder(out)
    rows, sql_types = read_table(source, table)
    declared = describe(Warehouse(source), table) if table is not None else None
    keys, references = (declared.keys, declared.references) if declared else ((), {})
    schema = infer_schema(rows, table or source.stem, sql_types, keys, references)
    text = Contract.infer(rows, schema).to_yaml(rows)
    if out is None:
        typer.echo(text)
    else:
        write_text(out, text)
        typer.echo(f"{out}: review it, and keep it with your code")


@app.command()
def diff(
    contract: Annotated[Path, typer.Argument(help="YAML that `tabdar contract` proposed.")],
    source: Source,
    table: TableOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how a source has drifted from its contract; exit code 1 where a person must decide (marked !)."""
    from tabdar_pipeline.schemas.contract import Contract
    from tabdar_pipeline.schemas.drift import differences
    from tabdar_pipeline.warehouse.snapshot import read_table

    declared = Contract.read(contract)
    rows, _ = read_table(source, table)
    found = differences(declared, rows)
    compatible = all(it.compatible for it in found)
    sentence = "\n".join(it.line for it in found) or "nothing changed"
    say({"compatible": compatible, "differences": [asdict(it) for it in found]}, sentence, as_json=as_json)
    if not compatible:
        raise typer.Exit(1)
