"""`tabdar evaluate`: a synthetic table beside the real one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tabdar_pipeline.cli.options import SeedOption
from tabdar_pipeline.console import progress_bar
from tabdar_pipeline.errors import UsageError

if TYPE_CHECKING:
    from tabdar_pipeline.quality.figures import Figures


def evaluate(
    train: Annotated[Path, typer.Argument(help="Rows that the generator learned from, .parquet or .csv.")],
    holdout: Annotated[Path, typer.Argument(help="Real rows that it never saw.")],
    synthetic: Annotated[Path, typer.Argument(help="The synthetic table.")],
    target: Annotated[str | None, typer.Option(help="A column to predict: measures utility.")] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="The model directory that drew it: adds membership inference on its likelihood."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report here.")] = None,
    json_: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here; - for stdout.")
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Compare a synthetic table with the real one, each figure beside its floor."""
    from tabdar_pipeline.output import refuse_no_folder, write_text
    from tabdar_pipeline.quality import figures as measured
    from tabdar_pipeline.quality import report
    from tabdar_pipeline.runtime import OnnxSampler
    from tabdar_pipeline.schemas.infer import infer_schema
    from tabdar_pipeline.warehouse.snapshot import read_table

    to_stdout = str(json_) == "-"
    for path in (html, None if to_stdout else json_):
        if path is not None:
            refuse_no_folder(path)
    losses = None if model is None else OnnxSampler.load(model).losses
    tables = [read_table(path)[0] for path in (train, holdout, synthetic)]
    schema = infer_schema(tables[0], train.stem)
    missing = [c for c in schema.names if any(c not in t.column_names for t in tables)]
    if missing:
        raise UsageError(
            f"all three tables must have the columns {missing}, however one lacks them. Compare like with like."
        )
    with progress_bar("measuring") as tell:
        found = measured.evaluate(
            tables[0],
            tables[1],
            tables[2],
            schema,
            target=target,
            seed=seed,
            progress=lambda n, x: tell(x, n),
            losses=losses,
        )
    if html is not None:
        write_text(html, report.html(found, tables[0], tables[2], schema, title=synthetic.stem))
    text = json.dumps(found.to_json(), indent=1)
    if json_ is not None and not to_stdout:
        write_text(json_, text)
    if to_stdout:
        typer.echo(text)
    else:
        for name, value in found.values.items():
            typer.echo(f"{name:16} {value:9.4f}   {_beside(name, found)}")


def _beside(name: str, found: "Figures") -> str:
    """A figure's floor; of an attack, its risk and what it is made of."""
    if found.audit is None or name not in found.audit.risks:
        return f"floor {found.floor[name]:9.4f}"
    risk = found.audit.risks[name]
    return (
        f"at least; risk {risk.value:.3f} ({risk.low:.3f} to {risk.high:.3f}), "
        f"success {risk.train.value:.3f} on training rows, {risk.control.value:.3f} on unseen ones"
    )
