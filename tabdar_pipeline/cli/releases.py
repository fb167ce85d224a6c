"""`tabdar release`: what was published, and what is served."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tabdar_pipeline.cli.options import JsonOption
from tabdar_pipeline.console import progress_bar

app = typer.Typer(help="Releases in a warehouse.", no_args_is_help=True)
WarehouseFile = Annotated[Path, typer.Argument(help="The .duckdb file.")]
Target = Annotated[str, typer.Argument(help="schema.table of the release.")]
OneRelease = Annotated[int | None, typer.Argument(help="The release; the one served where not given.")]
OfPartition = Annotated[
    str | None,
    typer.Option("--partition", help="The partition, where the target has them: its served release."),
]
OfModel = Annotated[
    Path | None,
    typer.Option("--model", help="The model that made it, where it is not the one kept in `--storage`."),
]
Storage = Annotated[Path, typer.Option(help="Run data of all tables: `storage` in YAML.")]
STORAGE = Path(".tabdar")


@app.command("list")
def show_all(
    warehouse: WarehouseFile,
    target: Annotated[str | None, typer.Argument(help="schema.table of the release.")] = None,
    partition: Annotated[str | None, typer.Option(help="Releases of this partition.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List releases, newest first, with their approvals; * is served."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.stages import staged

    found = staged(Warehouse(warehouse), target, partition)
    if as_json:
        typer.echo(json.dumps({"releases": [it.to_json() for it in found]}))
        return
    for each in found:
        it, said = each.release, each.promotion
        approved = f", promoted {said.promoted:%Y-%m-%d %H:%M} by {said.who}: {said.why}" if said else ""
        retired = f", retired {it.retired:%Y-%m-%d %H:%M}" if it.retired else ""
        typer.echo(
            f"{'*' if it.served else ' '} {it.label}  {it.created:%Y-%m-%d %H:%M}  "
            f"{it.row_count:,} rows{approved}{retired}"
        )


@app.command()
def show(
    warehouse: WarehouseFile,
    target: Target,
    number: OneRelease = None,
    partition: OfPartition = None,
) -> None:
    """Print one release's record as JSON: its stage, approvals and manifest."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.stages import staged_one

    typer.echo(json.dumps(staged_one(Warehouse(warehouse), target, number, partition).to_json(), indent=1))


@app.command("verify")
def check(
    warehouse: WarehouseFile,
    target: Target,
    number: OneRelease = None,
    partition: OfPartition = None,
    model: OfModel = None,
    storage: Storage = STORAGE,
) -> None:
    """Check that a release is as it was published: tables, views, record, manifest, copy, and its model where it is kept.

    Of all partitions that are served, where neither a release nor a partition is named.
    """
    from tabdar_pipeline.assets.inspection import inspect
    from tabdar_pipeline.warehouse.duckdb import Warehouse

    for found in inspect(Warehouse(warehouse), target, storage, number, partition, model):
        typer.echo(f"{found.label}: as it was published")


@app.command("rollback")
def serve(
    warehouse: WarehouseFile,
    target: Target,
    number: Annotated[
        int | None,
        typer.Argument(help="The release to serve again; the one before the served one if not given."),
    ] = None,
    partition: OfPartition = None,
) -> None:
    """Serve an earlier release again."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.publish import rollback

    typer.echo(f"{rollback(Warehouse(warehouse), target, number, partition).label} is served")


@app.command("withdraw")
def leave_out(
    warehouse: WarehouseFile,
    target: Target,
    partition: Annotated[str, typer.Argument(help="The partition that the view is to serve no longer.")],
) -> None:
    """Serve a partition no longer; its releases stay, and rollback serves one of them again."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.publish import withdraw

    gone = withdraw(Warehouse(warehouse), target, partition)
    typer.echo(f"{gone.target}, partition {partition!r}, is not served any more")


@app.command("promote")
def approve(
    warehouse: WarehouseFile,
    target: Target,
    number: OneRelease = None,
    *,
    partition: OfPartition = None,
    who: Annotated[str, typer.Option(help="The person who approves it; recorded.")],
    why: Annotated[str, typer.Option(help="The reason; recorded.")],
) -> None:
    """Let the view TARGET__promoted serve a release that a person approved; it stays until the next promotion."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.promotion import promote

    made = promote(Warehouse(warehouse), target, number, who, why, partition)
    typer.echo(f"{made.target} r{made.number:04d} is promoted by {made.who}")


@app.command("reproduce")
def draw_again(
    warehouse: WarehouseFile,
    target: Target,
    number: OneRelease = None,
    partition: OfPartition = None,
    model: OfModel = None,
    storage: Storage = STORAGE,
) -> None:
    """Draw a release again from its manifest and its model, and say whether every row is the same."""
    from tabdar_pipeline.assets.inspection import redraw
    from tabdar_pipeline.warehouse.duckdb import Warehouse

    with progress_bar("drawing") as tell:
        found = redraw(
            Warehouse(warehouse),
            target,
            storage,
            number,
            partition,
            model,
            lambda done, rows: tell(done / rows, f"{done:,} of {rows:,} rows"),
        )
    typer.echo(f"{found.identifier}: {found.row_count:,} rows, each as it was published")


@app.command("retire")
def drop(
    warehouse: WarehouseFile,
    target: Target,
    number: Annotated[int, typer.Argument(help="The release to retire; never one in use.")],
    storage: Storage = STORAGE,
) -> None:
    """Drop a release's rows and copy, and its model where no other release has it; record and manifest stay."""
    from tabdar_pipeline.assets.retiring import retire
    from tabdar_pipeline.warehouse.duckdb import Warehouse

    typer.echo(f"{retire(Warehouse(warehouse), target, number, storage).identifier} is retired")


@app.command("diff")
def differ(
    warehouse: WarehouseFile,
    target: Target,
    before: Annotated[int, typer.Argument(help="The earlier release.")],
    after: Annotated[int, typer.Argument(help="The later release.")],
    as_json: JsonOption = False,
) -> None:
    """Say what changed from one release to another: columns, rows, settings, figures, drift by column."""
    from tabdar_pipeline.warehouse.comparison import compare
    from tabdar_pipeline.warehouse.duckdb import Warehouse

    found = compare(Warehouse(warehouse), target, before, after)
    if as_json:
        typer.echo(json.dumps(found.to_json()))
        return
    for it in found.differences:
        typer.echo(f"{it.fact}: {it.before} -> {it.after}")
    for name, percent in found.drift.items():
        typer.echo(f"drift of {name}: {percent:.2f} %")


@app.command("export")
def export(
    warehouse: WarehouseFile,
    target: Target,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    number: OneRelease = None,
    partition: OfPartition = None,
) -> None:
    """Write a release to hand on: parquet, manifest, data contract (ODCS), dbt source, data and model cards."""
    from tabdar_pipeline.assets.exporting import hand_on
    from tabdar_pipeline.warehouse.duckdb import Warehouse

    release = hand_on(Warehouse(warehouse), target, folder, number, partition)
    typer.echo(f"{folder}: {release.identifier}, {release.row_count:,} rows")
