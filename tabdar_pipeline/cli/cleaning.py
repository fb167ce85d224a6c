"""`tabdar clean`: what runs that were cut off left behind."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from tabdar_pipeline.cli.options import JsonOption

_MB = 1e6


def clean(
    storage: Annotated[Path, typer.Argument(help="Run data of all tables: `storage` in YAML.")],
    warehouses: Annotated[list[Path], typer.Argument(help="Every .duckdb file whose tables have it.")],
    folder: Annotated[
        Path | None, typer.Option(help="Copies of releases: `folder` in YAML; of one warehouse.")
    ] = None,
    older_than: Annotated[
        float, typer.Option(min=0, help="Days that a thing has lain untouched, so that no live run needs it.")
    ] = 7.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and stop.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what runs that were cut off left behind, and run data of targets and partitions without a release; finish copies.

    Releases, models that the next refresh needs, and what is younger stay as they are.
    """
    from tabdar_pipeline.assets import leftovers
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.releases import releases

    published = [release for path in warehouses for release in releases(Warehouse(path))]
    age = timedelta(days=older_than)
    if folder is not None and not dry_run:
        for path in warehouses:
            leftovers.settle_copies(Warehouse(path), folder)
    found = leftovers.in_storage(storage, published, age)
    found += [] if folder is None else leftovers.in_copies(folder, age)
    if not dry_run:
        leftovers.remove(found)
    if as_json:
        facts = [{"path": str(it.path), "bytes": it.bytes, "reason": it.reason} for it in found]
        typer.echo(json.dumps({"leftovers": facts, "removed": not dry_run}))
        return
    for it in found:
        typer.echo(f"{it.path}  {it.bytes / _MB:.1f} MB  {it.reason}")
    size = sum(it.bytes for it in found) / _MB
    typer.echo(f"{len(found)} {'would be ' if dry_run else ''}removed, {size:.1f} MB")
