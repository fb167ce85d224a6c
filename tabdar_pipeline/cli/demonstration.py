"""`tabdar demo`: the whole job on a warehouse of made-up people."""

from pathlib import Path
from typing import Annotated

import typer

from tabdar_pipeline.console import progress_bar


def demo(
    folder: Annotated[Path, typer.Option(help="The project to run in.")] = Path(),
    seconds: Annotated[float | None, typer.Option(help="Training budget, instead of the YAML's.")] = None,
) -> None:
    """Build the demo warehouse and run the whole Dagster job in this process."""
    from tabdar_pipeline.demo import run_demo

    with progress_bar("demo") as tell:
        result = run_demo(folder.resolve(), seconds, tell)
    typer.echo(result.summary())
    if not result.succeeded:
        raise typer.Exit(1)
