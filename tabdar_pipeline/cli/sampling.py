"""`tabdar sample`: a model directory becomes rows."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tabdar_pipeline.cli.options import (
    PANDAS_INDEX,
    EngineName,
    JsonOption,
    QualityName,
    SeedOption,
    TableOption,
)
from tabdar_pipeline.console import Tell, progress_bar, say
from tabdar_pipeline.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from tabdar_pipeline.conditions import Conditions
    from tabdar_pipeline.output import Write
    from tabdar_pipeline.parts import Parts
    from tabdar_pipeline.runtime import Sampler
    from tabdar_pipeline.sampling.stopwatch import Stopwatch
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
    quality: Annotated[
        QualityName, typer.Option(help="How finely the diffusion of numbers is solved.")
    ] = QualityName.balanced,
    engine: Annotated[EngineName, typer.Option(help="onnx: fast, without torch.")] = EngineName.onnx,
    table: TableOption = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Print where the time went.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Draw a synthetic table, block by block; never the whole table in memory.

    A long one is drawn in parts: after a crash the same command goes on where it stopped.
    """
    started = time.perf_counter()
    from tabdar_pipeline.imputation import numbered_schema
    from tabdar_pipeline.output import refuse_unwritable, writer

    refuse_unwritable(out, table)
    sampler = _sampler(model_dir, engine, threads, quality)
    watch = sampler.engine.watch
    watch.seconds["loading"] = time.perf_counter() - started
    if given is None:
        job = _Job(out, rows, seed, where, balance, quality.value)
        source = _free(sampler, job)
    elif any(option is not None for option in (rows, where, balance)):
        raise UsageError("--given completes the rows it names: drop --rows, --where and --balance.")
    else:
        source = _completed(sampler, given, seed, draws)
    schema = numbered_schema(sampler.schema, draws)
    with writer(out, schema, table) as write, progress_bar("writing" if source.parts else "sampling") as tell:
        _write(source, write, tell, watch)
    if source.parts is not None:
        source.parts.remove()
    seconds = time.perf_counter() - started
    facts = {"out": str(out), "rows": source.rows, "seed": seed, "seconds": seconds}
    facts |= {"rows_per_second": source.rows / seconds, "profile": watch.seconds}
    say(facts, f"{out}: {source.rows:,} rows in {seconds:.1f} s", as_json=as_json)
    if profile and not as_json:
        _say_profile(watch, seconds, sampler.engine.workers)


@dataclass(frozen=True, slots=True)
class _Job:
    """What is asked for, where nothing is given."""

    out: Path
    rows: int | None
    seed: int
    where: str | None
    balance: str | None
    quality: str


@dataclass(frozen=True, slots=True)
class _Source:
    """Rows to write, and the parts that they come from."""

    batches: "Iterator[pa.RecordBatch]"
    rows: int
    parts: "Parts | None" = None


def _free(sampler: "Sampler", job: _Job) -> _Source:
    """Rows that begin with nothing; many of them in parts."""
    from tabdar_pipeline import parts

    if job.rows is None:
        raise UsageError("--rows must be given, however it is not. Say how many rows to draw.")
    conditions = _conditions(sampler, job.where, job.balance)
    if job.rows <= parts.PART_ROWS:
        return _Source(sampler.sample_batches(job.rows, seed=job.seed, conditions=conditions), job.rows)
    facts = {"model": sampler.fingerprint} | {k: v for k, v in asdict(job).items() if k != "out"}
    found = parts.Parts.beside(job.out, job.rows, facts)
    _draw_parts(sampler, found, job.seed, conditions)
    return _Source(found.batches(), job.rows, found)


def _completed(sampler: "Sampler", given: Path, seed: int, draws: int) -> _Source:
    """Rows of which some columns are known."""
    known = _given_rows(given, sampler.schema)
    copies = sampler.complete_rows(known, seed=seed, draws=draws)
    return _Source((batch for copy in copies for batch in copy.to_batches()), known.num_rows * draws)


def _draw_parts(sampler: "Sampler", parts: "Parts", seed: int, conditions: "Conditions") -> None:
    """Draw the parts that are missing."""
    missing = parts.missing()
    done = parts.rows - sum(parts.size(part) for part in missing)
    if done:
        typer.echo(f"{done:,} rows were drawn by an earlier run: going on from there", err=True)
    began, before = time.perf_counter(), done
    with progress_bar("sampling") as tell:
        for part in missing:
            blocks = parts.blocks(part)
            batches = sampler.sample_batches(parts.rows, seed=seed, conditions=conditions, blocks=blocks)
            for rows in parts.write(part, batches, sampler.schema):
                done += rows
                speed = (done - before) / (time.perf_counter() - began)
                tell(done / parts.rows, f"{speed:,.0f} rows/s")


def _write(source: _Source, write: "Write", tell: Tell, watch: "Stopwatch") -> None:
    """Write batches as they come."""
    began, done = time.perf_counter(), 0
    for batch in source.batches:
        with watch.time("writing"):
            write(batch)
        done += batch.num_rows
        tell(done / source.rows, f"{done / (time.perf_counter() - began):,.0f} rows/s")


def _say_profile(watch: "Stopwatch", seconds: float, workers: int) -> None:
    """A line a part, the costliest first; what drawing costs is summed over the workers."""
    typer.echo(f"{seconds:8.2f} s in all; by part, summed over {workers} workers:")
    for part, spent in sorted(watch.seconds.items(), key=lambda item: -item[1]):
        typer.echo(f"{spent:8.2f} s {part}")


def _sampler(model_dir: Path, engine: EngineName, threads: int | None, quality: QualityName) -> "Sampler":
    from tabdar_pipeline.runtime import OnnxSampler

    if engine is EngineName.onnx:
        return OnnxSampler.load(model_dir, quality=quality.value, threads=threads)
    from tabdar_pipeline.synthesizer import TabDAR

    return TabDAR.load(model_dir).sampler("torch", quality=quality.value)


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
