"""`tabdar`: file in, file out; what the Dagster assets do, one command at a time.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted. Progress goes to stderr.
"""

import json
import sys
import time
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tabdar_pipeline.console import progress_bar, say
from tabdar_pipeline.errors import StorageError, TabdarError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from tabdar_pipeline.conditions import Conditions
    from tabdar_pipeline.runtime import Sampler
    from tabdar_pipeline.schemas.table import TableSchema
    from tabdar_pipeline.warehouse.publish import Release

INTERRUPTED = 130  # exit code
PANDAS_INDEX = "__index_level_0__"  # what pandas writes into a parquet file for an index without a name

app = typer.Typer(
    help="Synthetic and imputed tables from a warehouse table.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
release_app = typer.Typer(help="Releases in a warehouse.", no_args_is_help=True)
app.add_typer(release_app, name="release")


class Device(StrEnum):
    """Where to train."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Preset(StrEnum):
    """Size of the network."""

    auto = "auto"
    small = "small"
    medium = "medium"
    large = "large"


class MissingName(StrEnum):
    """What a missing cell is."""

    generated = "generated"
    unknown = "unknown"


class EngineName(StrEnum):
    """What runs the model."""

    onnx = "onnx"
    torch = "torch"


class PointName(StrEnum):
    """What an imputed cell is."""

    draw = "draw"
    mean = "mean"
    median = "median"
    mode = "mode"


TableOption = Annotated[str | None, typer.Option(help="schema.table, where the file is a database.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
SeedOption = Annotated[int, typer.Option(min=0, help="The same seed gives the same rows.")]


@app.command()
def fit(
    source: Annotated[Path, typer.Argument(help=".parquet, .csv or .duckdb to learn from.")],
    model_dir: Annotated[Path, typer.Argument(help="Where to write the model.")],
    table: TableOption = None,
    seconds: Annotated[
        float | None, typer.Option(help="Budget from reading to best weights; 120 where no budget is given.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Budget in epochs, instead.")] = None,
    seed: SeedOption = 0,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.auto,
    preset: Annotated[Preset, typer.Option(help="Size of the network.")] = Preset.auto,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; as many as there are.")] = None,
    missing: Annotated[
        MissingName,
        typer.Option(help="generated: a value that is drawn, too; unknown: neither learned nor evidence."),
    ] = MissingName.generated,
    contract: Annotated[
        Path | None, typer.Option(help="Contract (YAML) that the source must satisfy.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Learn a table and write a model directory, with its ONNX graphs."""
    started = time.perf_counter()
    from tabdar_pipeline.output import refuse_foreign_folder
    from tabdar_pipeline.synthesizer import FitSettings, TabDAR

    settings = FitSettings(
        seconds=seconds,
        epochs=epochs,
        seed=seed,
        device=device.value,
        preset=preset.value,
        threads=threads,
        missing=missing.value,
    )
    refuse_foreign_folder(model_dir)
    rows, schema = learnable(source, table, contract)
    with progress_bar("fitting") as tell:
        model = TabDAR.fit(
            rows,
            name=schema.name,
            schema=schema,
            settings=settings,
            started=started,
            progress=lambda r: tell(r.budget, f"epoch {r.epoch:.1f}  loss {r.validation_loss:.3f}"),
            resume=model_dir.with_name(f".{model_dir.name}-training"),
        )
    model.save(model_dir)
    parity, last = model.export().parity, model.history[-1]
    facts = {
        "model": str(model_dir),
        "fingerprint": model.fingerprint,
        "rows": rows.num_rows,
        "epochs": last.epoch,
        "seconds": last.seconds,
        "parity": parity,
        "validation_loss": min(r.validation_loss for r in model.history),
    }
    sentence = (
        f"{model_dir}: {last.epoch:.1f} epochs in {last.seconds:.0f} s, ONNX within {parity:.1g} of torch"
    )
    say(facts, sentence, as_json=as_json)


@app.command()
def sample(
    model_dir: Annotated[Path, typer.Argument(help="A model that `tabdar fit` wrote.")],
    out: Annotated[Path, typer.Argument(help=".parquet, .csv or .duckdb to write.")],
    rows: Annotated[int | None, typer.Option(min=1, help="How many rows.")] = None,
    seed: SeedOption = 0,
    where: Annotated[
        str | None, typer.Option(help="What every row satisfies: comparisons in SQL, joined by AND.")
    ] = None,
    balance: Annotated[
        str | None, typer.Option(help='Shares of values, as JSON: {"income": {">50K": 1, "<=50K": 1}}.')
    ] = None,
    given: Annotated[
        Path | None, typer.Option(help="Rows of which some columns are known, to be completed.")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, max=1000, help="Copies of the given rows.")] = 1,
    engine: Annotated[EngineName, typer.Option(help="onnx: fast, without torch.")] = EngineName.onnx,
    table: TableOption = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a synthetic table, block by block; never the whole table in memory."""
    started = time.perf_counter()
    from tabdar_pipeline.imputation import numbered_schema
    from tabdar_pipeline.output import refuse_unwritable, writer

    refuse_unwritable(out, table)
    sampler = _sampler(model_dir, engine, threads)
    if given is None:
        conditions, todo = _conditions(sampler, where, balance), rows
        if todo is None:
            raise UsageError("--rows must be given, however it is not. Say how many rows to draw.")
        batches = sampler.sample_batches(todo, seed=seed, conditions=conditions)
    else:
        if any(option is not None for option in (rows, where, balance)):
            raise UsageError("--given completes the rows it names: drop --rows, --where and --balance.")
        known = _given_rows(given, sampler.schema)
        todo = known.num_rows * draws
        copies = sampler.complete_rows(known, seed=seed, draws=draws)
        batches = (batch for copy in copies for batch in copy.to_batches())
    done = 0
    with (
        writer(out, numbered_schema(sampler.schema, draws), table) as write,
        progress_bar("sampling") as tell,
    ):
        for batch in batches:
            write(batch)
            done += batch.num_rows
            tell(done / todo, f"{done / (time.perf_counter() - started):,.0f} rows/s")
    seconds = time.perf_counter() - started
    say(
        {"out": str(out), "rows": todo, "seed": seed, "seconds": seconds, "rows_per_second": todo / seconds},
        f"{out}: {todo:,} rows in {seconds:.1f} s",
        as_json=as_json,
    )


def _sampler(model_dir: Path, engine: EngineName, threads: int | None) -> "Sampler":
    from tabdar_pipeline.runtime import OnnxSampler

    if engine is EngineName.onnx:
        return OnnxSampler.load(model_dir, threads=threads)
    from tabdar_pipeline.synthesizer import TabDAR

    return TabDAR.load(model_dir).sampler("torch")


def _conditions(sampler: "Sampler", where: str | None, balance: str | None) -> "Conditions":
    from tabdar_pipeline.conditions import resolve
    from tabdar_pipeline.predicates import parse

    try:
        shares = json.loads(balance) if balance else {}
    except ValueError as error:
        raise UsageError(f"--balance must be JSON, however: {error}. Correct it.") from error
    if not (isinstance(shares, dict) and all(isinstance(s, dict) for s in shares.values())):
        raise UsageError(
            '--balance must be like {"income": {">50K": 1, "<=50K": 1}}, however: ' + str(balance)
        )
    predicates = parse(where, sampler.schema) if where else ()
    return resolve(sampler.codec, sampler.schema, predicates, shares)


def _given_rows(path: Path, schema: "TableSchema") -> "pa.Table":
    from tabdar_pipeline.warehouse.snapshot import read_table

    rows, _ = read_table(path)
    index = [PANDAS_INDEX] if PANDAS_INDEX in rows.column_names and PANDAS_INDEX not in schema.names else []
    return rows.drop_columns(index)


@app.command()
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
    say(
        {"out": str(out), "rows": rows.num_rows, "cells": before - left, "draws": draws},
        f"{out}: {before - left:,} cells filled",
        as_json=as_json,
    )


@app.command()
def evaluate(
    train: Annotated[Path, typer.Argument(help="Rows that the generator learned from, .parquet or .csv.")],
    holdout: Annotated[Path, typer.Argument(help="Real rows that it never saw.")],
    synthetic: Annotated[Path, typer.Argument(help="The synthetic table.")],
    target: Annotated[str | None, typer.Option(help="A column to predict: measures utility.")] = None,
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
    from tabdar_pipeline.schemas.infer import infer_schema
    from tabdar_pipeline.warehouse.snapshot import read_table

    to_stdout = str(json_) == "-"
    for path in (html, None if to_stdout else json_):
        if path is not None:
            refuse_no_folder(path)
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
            typer.echo(f"{name:16} {value:9.4f}   floor {found.floor[name]:9.4f}")


@app.command()
def export(
    model_dir: Annotated[Path, typer.Argument(help="A model that `tabdar fit` wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Write backbone.onnx and denoiser.onnx, checked against torch."""
    from tabdar_pipeline.synthesizer import TabDAR

    record = TabDAR.load(model_dir).export()
    facts = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(record).items()}
    say(
        facts,
        f"{record.backbone.parent}: within {record.parity:.1g} of torch, {record.bytes / 1e6:.1f} MB",
        as_json=as_json,
    )


@app.command()
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


@app.command()
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


@release_app.command("list")
def release_list(
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


@release_app.command("show")
def release_show(
    warehouse: Annotated[Path, typer.Argument(help="The .duckdb file.")],
    target: Annotated[str, typer.Argument(help="schema.table of the release.")],
    number: Annotated[int | None, typer.Argument(help="The release; the one served where not given.")] = None,
) -> None:
    """Print one release's manifest."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.publish import find

    typer.echo(json.dumps(_release_facts(find(Warehouse(warehouse), target, number)), indent=1))


@release_app.command("verify")
def release_verify(
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


@release_app.command("rollback")
def release_rollback(
    warehouse: Annotated[Path, typer.Argument(help="The .duckdb file.")],
    target: Annotated[str, typer.Argument(help="schema.table of the release.")],
    number: Annotated[int, typer.Argument(help="The release to serve again.")],
) -> None:
    """Serve an earlier release again."""
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.publish import rollback

    typer.echo(f"{rollback(Warehouse(warehouse), target, number).identifier} is served")


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


def learnable(source: Path, table: str | None, contract: Path | None) -> "tuple[pa.Table, TableSchema]":
    """The rows of a source and their schema: inferred, or as a contract declares it."""
    from tabdar_pipeline.schemas.contract import Contract
    from tabdar_pipeline.schemas.infer import infer_schema
    from tabdar_pipeline.warehouse.catalog import describe
    from tabdar_pipeline.warehouse.duckdb import Warehouse
    from tabdar_pipeline.warehouse.snapshot import read_table

    declared = Contract.read(contract) if contract is not None else None
    rows, sql_types = read_table(source, table)
    rows = rows.select([c for c in rows.column_names if c != PANDAS_INDEX])
    if declared is not None:
        declared.enforce(rows)
        return rows, declared.schema
    keys = describe(Warehouse(source), table).keys if table is not None else ()
    return rows, infer_schema(rows, table or source.stem, sql_types, keys)


def _release_facts(it: "Release") -> dict[str, Any]:
    return asdict(it) | {"created": it.created.isoformat()}
