"""`tabdar release`: what was published, and what is served."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tabdar_pipeline.cli.options import JsonOption
from tabdar_pipeline.console import progress_bar
from tabdar_pipeline.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tabdar_pipeline.warehouse.publish import Release

app = typer.Typer(help="Releases in a warehouse.", no_args_is_help=True)
WarehouseFile = Annotated[Path, typer.Argument(help="The .duckdb file.")]
Target = Annotated[str, typer.Argument(help="schema.table of the release.")]
OneRelease = Annotated[int | None, typer.Argument(help="The release; the one served where not given.")]
OfPartition = Annotated[
    str | None,
    typer.Option("--partition", help="The partition, where the target has them: its served release."),
]


@app.command("list")
def show_all(
    warehouse: WarehouseFile,
    target: Annotated[str | None, typer.Argument(help="schema.table of the release.")] = None,
    partition: Annotated[str | None, typer.Option(help="Releases of this partition.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List releases, newest first; * is served."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.publish import releases

    found = [it for it in releases(Warehouse(warehouse), target) if partition in {None, it.partition}]
    if as_json:
        typer.echo(json.dumps({"releases": [_release_facts(it) for it in found]}))
        return
    for it in found:
        retired = f", retired {it.retired:%Y-%m-%d %H:%M}" if it.retired else ""
        typer.echo(
            f"{'*' if it.served else ' '} {it.label}  {it.created:%Y-%m-%d %H:%M}  "
            f"{it.row_count:,} rows{retired}"
        )


@app.command()
def show(
    warehouse: WarehouseFile,
    target: Target,
    number: OneRelease = None,
    partition: OfPartition = None,
) -> None:
    """Print one release's manifest."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.publish import find

    typer.echo(json.dumps(_release_facts(find(Warehouse(warehouse), target, number, partition)), indent=1))


@app.command("verify")
def check(
    warehouse: WarehouseFile,
    target: Target,
    number: OneRelease = None,
    partition: OfPartition = None,
) -> None:
    """Check that a release's rows are those that were published; of all partitions, where none is named."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.publish import serving, verify

    at = Warehouse(warehouse)
    numbers = [it.number for it in serving(at, target, partition)] if number is None else [number]
    for each in numbers:
        found = verify(at, target, each, partition)
        if not found:
            raise StorageError(
                f"release {found.release.identifier!r} must be as it was published, however: "
                f"{'; '.join(found.problems)}. Serve another: tabdar release rollback"
            )
        typer.echo(f"{found.release.label}: as it was published")


@app.command("rollback")
def serve(
    warehouse: WarehouseFile,
    target: Target,
    number: Annotated[int, typer.Argument(help="The release to serve again.")],
) -> None:
    """Serve an earlier release again."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.publish import rollback

    typer.echo(f"{rollback(Warehouse(warehouse), target, number).label} is served")


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
def redraw(
    warehouse: WarehouseFile,
    target: Target,
    model: Annotated[Path, typer.Argument(help="The model it was drawn from: served/model in its storage.")],
    number: OneRelease = None,
    partition: OfPartition = None,
) -> None:
    """Draw a release again from its manifest, and say whether every row is the same."""
    from tabdar_pipeline.reproduction import reproduce
    from tabdar_pipeline.warehouse.duckdb import Warehouse

    with progress_bar("drawing") as tell:
        found = reproduce(
            Warehouse(warehouse),
            target,
            model,
            number,
            lambda done, rows: tell(done / rows, f"{done:,} of {rows:,} rows"),
            partition,
        )
    if found.row is not None:
        raise StorageError(
            f"release {found.release.identifier!r} must come back from its manifest, however row {found.row:,}, "
            f"of block {found.block:,}, differs first. Verify it (tabdar release verify), and compare its "
            "manifest's libraries with those installed."
        )
    typer.echo(f"{found.release.identifier}: {found.release.row_count:,} rows, each as it was published")


@app.command("retire")
def drop(
    warehouse: WarehouseFile,
    target: Target,
    number: Annotated[int, typer.Argument(help="The release to retire; never one in use.")],
) -> None:
    """Drop a release's rows and copy; its record and manifest stay."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.publish import retire

    typer.echo(f"{retire(Warehouse(warehouse), target, number).identifier} is retired")


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
        facts = {"differences": [asdict(it) for it in found.differences], "drift": found.drift}
        typer.echo(json.dumps(facts))
        return
    for it in found.differences:
        typer.echo(f"{it.fact}: {it.before} -> {it.after}")
    for name, percent in found.drift.items():
        typer.echo(f"drift of {name}: {percent:.2f} %")


@app.command("export")
def hand_on(
    warehouse: WarehouseFile,
    target: Target,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    number: OneRelease = None,
    partition: OfPartition = None,
) -> None:
    """Write a release to hand on: parquet, manifest, data contract (ODCS), dbt source, data and model cards."""
    from tabdar_pipeline.release.documents import Released, documents
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.export import Exported, export
    from tabdar_pipeline.warehouse.names import Relation

    def texts(it: Exported) -> "Mapping[str, str]":
        view = Relation.parse(it.release.target)
        return documents(Released(view.schema, view.name, it.types, it.comments, it.release.manifest))

    release = export(Warehouse(warehouse), target, folder, texts, number, partition)
    typer.echo(f"{folder}: {release.identifier}, {release.row_count:,} rows")


def _release_facts(it: "Release") -> dict[str, Any]:
    return asdict(it) | {
        "copy": str(it.copy) if it.copy else None,
        "created": it.created.isoformat(),
        "retired": it.retired.isoformat() if it.retired else None,
    }
