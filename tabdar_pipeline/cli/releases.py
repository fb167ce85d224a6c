"""`tabdar release`: what was published, and what is served."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tabdar_pipeline.cli.options import JsonOption
from tabdar_pipeline.errors import StorageError

if TYPE_CHECKING:
    from tabdar_pipeline.warehouse.publish import Release

app = typer.Typer(help="Releases in a warehouse.", no_args_is_help=True)


@app.command("list")
def show_all(
    warehouse: Annotated[Path, typer.Argument(help="The .duckdb file.")],
    target: Annotated[str | None, typer.Argument(help="schema.table of the release.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List releases, newest first; * is served."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.publish import releases

    found = releases(Warehouse(warehouse), target)
    if as_json:
        typer.echo(json.dumps({"releases": [_release_facts(it) for it in found]}))
        return
    for it in found:
        typer.echo(
            f"{'*' if it.served else ' '} {it.identifier}  {it.created:%Y-%m-%d %H:%M}  {it.row_count:,} rows"
        )


@app.command()
def show(
    warehouse: Annotated[Path, typer.Argument(help="The .duckdb file.")],
    target: Annotated[str, typer.Argument(help="schema.table of the release.")],
    number: Annotated[int | None, typer.Argument(help="The release; the one served where not given.")] = None,
) -> None:
    """Print one release's manifest."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.publish import find

    typer.echo(json.dumps(_release_facts(find(Warehouse(warehouse), target, number)), indent=1))


@app.command("verify")
def check(
    warehouse: Annotated[Path, typer.Argument(help="The .duckdb file.")],
    target: Annotated[str, typer.Argument(help="schema.table of the release.")],
    number: Annotated[int | None, typer.Argument(help="The release; the one served where not given.")] = None,
) -> None:
    """Check that a release's rows are those that were published."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.publish import verify

    found = verify(Warehouse(warehouse), target, number)
    if not found:
        raise StorageError(
            f"release {found.release.identifier!r} must be as it was published, however: "
            f"{'; '.join(found.problems)}. Serve another: tabdar release rollback"
        )
    typer.echo(f"{found.release.identifier}: as it was published")


@app.command("rollback")
def serve(
    warehouse: Annotated[Path, typer.Argument(help="The .duckdb file.")],
    target: Annotated[str, typer.Argument(help="schema.table of the release.")],
    number: Annotated[int, typer.Argument(help="The release to serve again.")],
) -> None:
    """Serve an earlier release again."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.publish import rollback

    typer.echo(f"{rollback(Warehouse(warehouse), target, number).identifier} is served")


def _release_facts(it: "Release") -> dict[str, Any]:
    return asdict(it) | {"created": it.created.isoformat()}
