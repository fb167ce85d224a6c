"""The steps of an imputed table, as plain functions: fill, test, publish."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tabdar_pipeline import checkpoint
from tabdar_pipeline.assets import shelf, steps
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.errors import ReleaseRefused
from tabdar_pipeline.imputation import Request, seed_of_draw
from tabdar_pipeline.quality.hidden import ColumnTest, filling_tests
from tabdar_pipeline.release.manifest import library_versions
from tabdar_pipeline.runtime import OnnxSampler
from tabdar_pipeline.warehouse.duckdb import Warehouse
from tabdar_pipeline.warehouse.publish import Companion, Release, publish

FILLED, FLAGS = "filled.parquet", "imputed.parquet"


@dataclass(frozen=True, slots=True)
class FillPlan:
    """One table from its missing cells to the filled release."""

    table: Plan  # source, target, and the fit of the model where it has one of its own
    model: Path  # the model directory that fills
    request: Request
    draws: int


@dataclass(frozen=True, slots=True)
class Filling:
    """What was filled."""

    rows: int
    cells: dict[str, int]  # missing and filled, by column
    left: dict[str, int]  # missing still: not modelled, or not asked for
    model: str  # fingerprint
    data_version: str


@dataclass(frozen=True, slots=True)
class Tests:
    """How well hidden cells were filled, column by column."""

    tests: tuple[ColumnTest, ...]


def fill(plan: FillPlan, progress: Callable[[int, int], None]) -> Filling:
    """Fill the snapshot's missing cells, and flag them; observed cells stay bit for bit."""
    taken, rows, _ = steps.last_snapshot(plan.table)
    sampler = OnnxSampler.load(plan.model, threads=plan.table.fit.threads)
    copies, flags = [], []
    for draw in range(plan.draws):
        request = Request(seed_of_draw(plan.request.seed, draw), plan.request.point, plan.request.columns)
        filled = sampler.impute(rows, request, progress)
        copies.append(_numbered(filled, draw, plan.draws))
        flags.append(_numbered(_flags(sampler, rows, filled), draw, plan.draws))
    for name, parts in ((FILLED, copies), (FLAGS, flags)):
        partial = plan.table.home / f".{name}"
        pq.write_table(pa.concat_tables(parts), partial, compression="zstd")
        partial.replace(plan.table.home / name)
    record = Filling(
        rows.num_rows,
        {n: rows[n].null_count - filled[n].null_count for n in rows.column_names if rows[n].null_count},
        {n: filled[n].null_count for n in rows.column_names if filled[n].null_count},
        checkpoint.describe(plan.model).fingerprint,
        taken.data_version,
    )
    shelf.put(plan.table.home, "filling", record)
    return record


def diagnose(plan: FillPlan) -> list[ColumnTest]:
    """Hide known cells of held-out rows, fill them, and compare with the mean or the mode."""
    sampler, parts = OnnxSampler.load(plan.model), steps.held_out(plan.table)
    return filling_tests(
        parts.train,
        parts.holdout,
        sampler.schema,
        lambda table: sampler.impute(table, Request(point="mean")),
        lambda table, k: sampler.impute(table, Request(seed_of_draw(plan.request.seed, k))),
        seed=plan.request.seed,
    )


def publish_filling(plan: FillPlan, warehouse: Warehouse, tests: list[dict[str, Any]]) -> Release:
    """Publish the filled table, and the flags beside it, in one transaction."""
    taken, _, contract = steps.last_snapshot(plan.table)
    record = shelf.get(plan.table.home, "filling")
    now = checkpoint.describe(plan.model).fingerprint
    if (record["data_version"], record["model"]) != (taken.data_version, now):
        raise ReleaseRefused(
            plan.table.target,
            ("snapshot or model are newer than the filled rows: materialize `filled` again",),
        )
    numbered = {"draw": "INTEGER"} if plan.draws > 1 else {}
    flags = pq.read_schema(plan.table.home / FLAGS)
    modelled = {field.name for field in flags if pa.types.is_boolean(field.type)}
    types = {n: "BOOLEAN" if n in modelled else taken.sql_types.get(n, "INTEGER") for n in flags.names}
    manifest = {
        "kind": "imputed",
        "source": {
            "database": plan.table.database.name,
            "table": plan.table.table,
            "rows": taken.rows,
            "data_version": taken.data_version,
        },
        "contract_hash": contract.hash,
        "model_fingerprint": now,
        "libraries": library_versions(),
        "settings": {"request": asdict(plan.request), "draws": plan.draws},
        "cells": record["cells"],
        "left": record["left"],
        "tests": tests,
    }
    return publish(
        warehouse,
        plan.table.target,
        plan.table.home / FILLED,
        numbered | taken.sql_types,
        manifest,
        plan.table.folder,
        companions={"imputed": Companion(plan.table.home / FLAGS, types)},
    )


def _flags(sampler: OnnxSampler, rows: pa.Table, filled: pa.Table) -> pa.Table:
    """Keys as they are, and for each column that can be imputed whether it was."""
    columns: dict[str, Any] = {}
    for column in sampler.schema.columns:
        if column.modelled:
            was, still = rows[column.name].is_null(), filled[column.name].is_null()
            columns[column.name] = np.asarray(was.to_numpy()) & ~np.asarray(still.to_numpy())
        elif column.kind == "key":
            columns[column.name] = rows[column.name]
    return pa.table(columns)


def _numbered(table: pa.Table, draw: int, draws: int) -> pa.Table:
    """The table with the number of the draw in front, where there are several."""
    if draws == 1:
        return table
    return table.add_column(0, "draw", pa.array(np.full(len(table), draw + 1, np.int32)))
