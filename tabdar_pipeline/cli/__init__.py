"""`tabdar`: file in, file out; what the Dagster assets do, one command at a time.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted. Progress goes to stderr.
"""

import sys

import typer

from tabdar_pipeline.cli import (
    cleaning,
    contracts,
    demonstration,
    evaluation,
    fitting,
    imputing,
    releases,
    sampling,
)
from tabdar_pipeline.errors import TabdarError

INTERRUPTED = 130  # exit code

app = typer.Typer(
    help="Synthetic and imputed tables from a warehouse table.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (
    fitting.fit,
    sampling.sample,
    imputing.impute,
    evaluation.evaluate,
    fitting.export,
    cleaning.clean,
    demonstration.demo,
):
    app.command()(command)
app.add_typer(contracts.app, name="contract")
app.add_typer(releases.app, name="release")


def main() -> None:
    """The entry point: errors become one message and an exit code."""
    try:
        app()
    except TabdarError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        typer.echo(f"error: {error}. Nothing was published.", err=True)
        sys.exit(1)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            typer.echo(
                "interrupted: nothing was published or replaced. The same fit goes on from here.", err=True
            )
        raise
