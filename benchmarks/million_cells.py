"""Seconds to fill a million missing cells of adult, from the command line, loading included.

    python benchmarks/million_cells.py BENCHMARKS JUDGE_PYTHON

A model learns one half of the table for a minute (`--missing unknown`). Rows are drawn from it, 30 % of their
cells hidden at random, until a million are missing; then `tabdar impute --point mean` fills them.
"""

import argparse
import json
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from imputation import COMMAND, run, timed
from quality import machine

RECORD = Path(__file__).parent / "results" / "million_cells.json"
CELLS, RATE = 1_000_000, 0.3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("judge_python")
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        record = measure(args, Path(scratch))
    RECORD.write_text(json.dumps(record, indent=1))
    print(f"{record['cells']:,} cells of {record['rows']:,} rows in {record['fill_s']:.0f} s")


def measure(args: argparse.Namespace, work: Path) -> dict:
    run([args.judge_python, str(args.benchmarks / "judge.py"), "split", "adult", str(work)])
    model, masked = str(work / "model"), work / "masked.parquet"
    fit = [COMMAND, "fit", str(work / "train.parquet"), model, "--missing", "unknown"]
    fit_s = timed([*fit, "--seconds", str(args.seconds), "--json"])
    columns = pq.read_schema(work / "train.parquet").names
    rows = int(np.ceil(CELLS / RATE / len(columns)))
    run([COMMAND, "sample", model, str(work / "rows.parquet"), "--rows", str(rows), "--json"])
    cells = hide(work / "rows.parquet", masked, np.random.default_rng(0))
    fill = [COMMAND, "impute", model, str(masked), str(work / "out.parquet"), "--point", "mean", "--json"]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "version": version("tabdar-pipeline"),
        "rows": rows,
        "cells": cells,
        "fit_s": fit_s,
        "fill_s": timed(fill),
    }


def hide(source: Path, target: Path, rng: np.random.Generator) -> int:
    """Hide cells completely at random; how many are missing then."""
    table = pq.read_table(source)
    kept = [pa.array(rng.random(table.num_rows) >= RATE) for _ in table.column_names]
    masked = [pc.if_else(keep, column, None) for keep, column in zip(kept, table.columns, strict=True)]
    pq.write_table(pa.table(masked, names=table.column_names), target)
    return sum(column.null_count for column in masked)


if __name__ == "__main__":
    main()
