"""`tabdar sample`: a model directory becomes rows."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tabdar_pipeline.cli.options import (
    PANDAS_INDEX,
    EngineName,
    JsonOption,
    QualityName,
    SeedOption,
    kept_unseen,
)
from tabdar_pipeline.cli.shares import read_shares
from tabdar_pipeline.console import Tell, progress_bar, say
from tabdar_pipeline.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from tabdar_pipeline.conditions import Conditions, Stratum
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
        str | None,
        typer.Option(
            help="What every row satisfies: comparisons in SQL, joined by AND, or by OR where they are of one column."
        ),
    ] = None,
    balance: Annotated[
        str | None,
        typer.Option(
            help='Shares of values, as JSON: {"income": {">50K": 1, "<=50K": 1}}, or {"rating": [[5, 1], [null, 2]]} '
            "where a value is NULL."
        ),
    ] = None,
    given: Annotated[
        Path | None,
        typer.Option(
            help="Rows of which some columns are known, .parquet, .csv or .duckdb. Cells that are NULL are not known: "
            "they are drawn, as are columns that it lacks."
        ),
    ] = None,
    given_table: Annotated[
        str | None, typer.Option(help="schema.table of the given rows, where they are in a database.")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, max=1000, help="Copies of the given rows.")] = 1,
    quality: Annotated[
        QualityName, typer.Option(help="How finely the diffusion of numbers is solved.")
    ] = QualityName.balanced,
    engine: Annotated[EngineName, typer.Option(help="onnx: fast, without torch.")] = EngineName.onnx,
    table: Annotated[str | None, typer.Option(help="schema.table of OUT, where it is a database.")] = None,
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
    _refuse_together(given, given_table, draws, (rows, where, balance))
    sampler = _sampler(model_dir, engine, threads, quality)
    watch = sampler.engine.watch
    watch.seconds["loading"] = time.perf_counter() - started
    if given is None:
        source = _free(sampler, _Job(out, rows, seed, where, balance, quality.value))
    else:
        source = _completed(sampler, given, given_table, seed, draws)
    schema = numbered_schema(sampler.schema, draws)
    with writer(out, schema, table) as write, progress_bar("writing" if source.parts else "sampling") as tell:
        _write(source, write, tell, watch)
    if source.parts is not None:
        source.parts.remove()
    seconds = time.perf_counter() - started
    facts = {"out": str(out), "rows": source.rows, "seed": seed, "seconds": seconds}
    facts |= {"rows_per_second": source.rows / seconds, "profile": watch.seconds}
    facts |= {"strata": [asdict(it) for it in source.strata], "unseen": source.unseen}
    said = [f"{out}: {source.rows:,} rows in {seconds:.1f} s", *map(_said, source.strata)]
    say(facts, "\n".join(said) + kept_unseen(source.unseen), as_json=as_json)
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
    strata: "tuple[Stratum, ...]" = ()
    unseen: Mapping[str, int] = field(default_factory=dict)  # given cells, by column, that are no evidence


def _refuse_together(
    given: Path | None, given_table: str | None, draws: int, free: tuple[int | str | None, ...]
) -> None:
    """Raise UsageError where options are named that mean nothing together."""
    if given is not None and any(option is not None for option in free):
        raise UsageError("--given completes the rows it names: drop --rows, --where and --balance.")
    if given is None and (draws > 1 or given_table is not None):
        raise UsageError(
            "--draws and --given-table must be of given rows, however none are given. Name them with --given, or "
            "ask for more --rows."
        )


def _said(stratum: "Stratum") -> str:
    value = "NULL" if stratum.value is None else repr(stratum.value)
    return f"{stratum.column} {value}: {stratum.rows:,} rows"


def _free(sampler: "Sampler", job: _Job) -> _Source:
    """Rows that begin with nothing; many of them in parts."""
    from tabdar_pipeline import parts

    if job.rows is None:
        raise UsageError("--rows must be given, however it is not. Say how many rows to draw.")
    conditions = _conditions(sampler, job.where, job.balance)
    strata = conditions.strata(sampler.schema, job.rows)
    if job.rows <= parts.PART_ROWS:
        batches = sampler.sample_batches(job.rows, seed=job.seed, conditions=conditions)
        return _Source(batches, job.rows, strata=strata)
    facts = {"model": sampler.fingerprint} | {k: v for k, v in asdict(job).items() if k != "out"}
    found = parts.Parts.beside(job.out, job.rows, facts)
    _draw_parts(sampler, found, job.seed, conditions)
    return _Source(found.batches(), job.rows, found, strata)


def _completed(sampler: "Sampler", given: Path, table: str | None, seed: int, draws: int) -> _Source:
    """Rows of which some columns are known."""
    known = _given_rows(given, table, sampler.schema)
    copies = sampler.complete_rows(known, seed=seed, draws=draws)
    batches = (batch for copy in copies for batch in copy.to_batches())
    return _Source(batches, known.num_rows * draws, unseen=sampler.unseen(known))


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

    clauses = parse(where, sampler.schema) if where is not None else ()
    return resolve(sampler.codec, sampler.schema, clauses, read_shares(balance))


def _given_rows(path: Path, table: str | None, schema: "TableSchema") -> "pa.Table":
    from tabdar_pipeline.warehouse.files import is_database, read_table

    if is_database(path) and table is None:
        raise UsageError(
            f"{path.name!r} is a database: name the given table with --given-table schema.table."
        )
    rows, _ = read_table(path, table)
    index = [PANDAS_INDEX] if PANDAS_INDEX in rows.column_names and PANDAS_INDEX not in schema.names else []
    return rows.drop_columns(index)
