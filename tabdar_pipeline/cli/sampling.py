"""`tabdar sample`: a model directory becomes rows."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tabdar_pipeline.cli.options import PANDAS_INDEX, EngineName, JsonOption, SeedOption, TableOption
from tabdar_pipeline.console import progress_bar, say
from tabdar_pipeline.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from tabdar_pipeline.conditions import Conditions
    from tabdar_pipeline.runtime import Sampler
    from tabdar_pipeline.schemas.table import TableSchema


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
