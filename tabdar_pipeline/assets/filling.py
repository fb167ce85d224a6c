"""The steps of an imputed table, as plain functions: fill, test, publish."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tabdar_pipeline import checkpoint
from tabdar_pipeline.assets import models, shelf, steps
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.errors import ReleaseRefused, SourceError
from tabdar_pipeline.imputation import NUMBER, Request, numbered
from tabdar_pipeline.intervals import keyed
from tabdar_pipeline.quality.hidden import DRAWS, ColumnTest, filling_tests
from tabdar_pipeline.quality.holdout import split
from tabdar_pipeline.release.manifest import library_versions
from tabdar_pipeline.release.terms import terms
from tabdar_pipeline.runtime import OnnxSampler
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.warehouse.catalog import describe
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import Companion, Release, publish
from tabdar_pipeline.warehouse.snapshot import Snapshot

FILLED, FLAGS, INTERVALS = "filled.parquet", "imputed.parquet", "intervals.parquet"


@dataclass(frozen=True, slots=True)
class FillPlan:
    """One table from its missing cells to the filled release."""

    table: Plan  # source, target, and the fit of the model where it has one of its own
    model: Path  # the model directory that fills
    request: Request
    reuse: str | None = None  # schema.table whose model it is; None where it is its own
    intervals: float | None = (
        None  # how often those of filled numbers hold the truth; None where none are wanted
    )


@dataclass(frozen=True, slots=True)
class Filler:
    """A model, ready to fill a snapshot."""

    plan: FillPlan
    snapshot: Snapshot
    rows: pa.Table
    sampler: OnnxSampler

    @classmethod
    def of(cls, plan: FillPlan, taken: Snapshot, rows: pa.Table) -> "Filler":
        """Read the model once; raises SourceError where the table whose model is to be reused has none."""
        if plan.reuse is not None and not plan.model.is_dir():
            raise SourceError(
                f"table {plan.table.target!r}: `reuse` must name the target of a table with a fitted model in the "
                f"same `storage`, however {plan.reuse!r} has none. Correct the name, or materialize its model first."
            )
        return cls(plan, taken, rows, OnnxSampler.load(plan.model, threads=plan.table.fit.threads))


@dataclass(frozen=True, slots=True)
class Filling:
    """What was filled."""

    cells: dict[str, int]  # missing and filled, by column
    left: dict[str, int]  # missing still: not modelled, or not asked for
    unseen: dict[str, int]  # cells of levels or beyond a range that the model never saw: kept as they are
    model: str  # fingerprint
    data_version: str


@dataclass(frozen=True, slots=True)
class Tests:
    """How well hidden cells were filled, column by column."""

    tests: tuple[ColumnTest, ...]


def fill(it: Filler, progress: Callable[[int, int], None]) -> Filling:
    """Fill the snapshot's missing cells, and flag them; observed cells stay bit for bit."""
    rows, request, home = it.rows, it.plan.request, it.plan.table.home
    copies, flags, filled = [], [], rows
    for draw, filled in enumerate(it.sampler.impute(rows, request, progress)):
        copies.append(numbered(filled, draw, request.draws))
        flags.append(numbered(_flags(it.sampler, rows, filled), draw, request.draws))
    files = {FILLED: pa.concat_tables(copies), FLAGS: pa.concat_tables(flags)}
    if it.plan.intervals is not None:
        files[INTERVALS] = it.sampler.intervals(rows, request, it.plan.intervals)
    for name, whole in files.items():
        with shelf.written(home / name) as partial:
            pq.write_table(whole, partial, compression="zstd")
    record = Filling(
        {n: rows[n].null_count - filled[n].null_count for n in rows.column_names if rows[n].null_count},
        {n: filled[n].null_count for n in rows.column_names if filled[n].null_count},
        it.sampler.unseen(rows),
        it.sampler.fingerprint,
        it.snapshot.data_version,
    )
    shelf.put(home, "filling", record)
    return record


def diagnose(it: Filler) -> tuple[ColumnTest, ...]:
    """Hide known cells of held-out rows, fill them, and compare with the mean or the mode."""
    parts = split(it.rows, it.plan.table.holdout)
    seed = it.plan.request.seed
    tests = filling_tests(
        parts.train,
        parts.holdout,
        it.sampler.schema,
        lambda table: next(it.sampler.impute(table, Request(point="mean"))),
        lambda table: it.sampler.impute(table, Request(seed, draws=DRAWS)),
        seed=seed,
    )
    shelf.put(it.plan.table.home, "tests", Tests(tuple(tests)))
    return tuple(tests)


def publish_filling(plan: FillPlan, warehouse: Warehouse) -> Release:
    """Publish the filled table, and the flags beside it, in one transaction."""
    home, target = plan.table.home, plan.table.target
    taken, _, contract = steps.last_snapshot(plan.table)
    record, made = shelf.get(home, "filling"), made_of(plan, taken, contract)
    if (record["data_version"], record["model"]) != (taken.data_version, made["model_fingerprint"]):
        raise ReleaseRefused(
            target, ("snapshot or model are newer than the filled rows: materialize `filled` again",)
        )
    manifest = {
        "kind": "imputed",
        **made,
        "cells": record["cells"],
        "left": record["left"],
        "unseen": record["unseen"],
        "tests": shelf.get(home, "tests")["tests"],
        "terms": terms(contract, home / FILLED),
    }
    types = ({NUMBER.name: NUMBER.sql_type} if plan.request.draws > 1 else {}) | taken.sql_types
    comments = describe(warehouse, plan.table.table).comments
    flag_types = _flag_types(home / FLAGS, types)
    flagged = {name: "Whether the cell was filled." for name, kind in flag_types.items() if kind == "BOOLEAN"}
    flags = Companion(home / FLAGS, flag_types, comments | flagged)
    companions = {"imputed": flags}
    if plan.intervals is not None:
        companions["intervals"] = Companion(
            home / INTERVALS, _interval_types(home / INTERVALS, types), comments
        )
    models.keep(plan.table.storage, target, plan.model, made["model_fingerprint"])
    return publish(
        warehouse,
        target,
        home / FILLED,
        types,
        manifest,
        plan.table.folder,
        comments,
        companions=companions,
    )


def made_of(plan: FillPlan, taken: Snapshot, contract: Contract) -> dict[str, Any]:
    """All that a filled table follows from, for its manifest."""
    return {
        "source": steps.source_record(plan.table, taken),
        "contract_hash": contract.hash,
        "model_fingerprint": checkpoint.describe(plan.model).fingerprint,
        "libraries": library_versions(),
        "settings": {"request": asdict(plan.request), "intervals": plan.intervals},
    }


def _flags(sampler: OnnxSampler, rows: pa.Table, filled: pa.Table) -> pa.Table:
    """Keys as they are, or the number of the row, and for each column that can be imputed whether it was."""
    columns: dict[str, Any] = dict(keyed(rows, sampler.schema))
    for column in sampler.schema.columns:
        if column.modelled:
            was, still = rows[column.name].is_null(), filled[column.name].is_null()
            columns[column.name] = np.asarray(was.to_numpy()) & ~np.asarray(still.to_numpy())
    return pa.table(columns)


def _flag_types(path: Path, types: Mapping[str, str]) -> dict[str, str]:
    """BOOLEAN for flags; keys and the number of the draw are of their own type, that of the row is BIGINT."""
    return {
        f.name: "BOOLEAN" if pa.types.is_boolean(f.type) else types.get(f.name, "BIGINT")
        for f in pq.read_schema(path)
    }


def _interval_types(path: Path, types: Mapping[str, str]) -> dict[str, str]:
    """Both ends are of their column's type."""
    names = {name: name.removesuffix("__low").removesuffix("__high") for name in pq.read_schema(path).names}
    return {name: types.get(name, types.get(column, "BIGINT")) for name, column in names.items()}
