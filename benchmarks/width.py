"""What a row costs against the number of columns.

    python benchmarks/width.py [--columns 5 10 20 50 100 200]

Tables of so many columns, half of them numbers and half categories of ten levels, each leaning on the one before it; one epoch
on 5,000 rows, since speed does not depend on what was learned; then 20,000 rows through onnxruntime, the median of three times.
"""

import argparse
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from quality import machine

from tabdar_pipeline import TabDAR
from tabdar_pipeline.runtime import OnnxSampler

RECORD = Path(__file__).parent / "results" / "width.json"
LEARNED, ROWS, TIMES = 5_000, 20_000, 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--columns", type=int, nargs="+", default=[5, 10, 20, 50, 100, 200])
    tables = [measure(columns) for columns in parser.parse_args().columns]
    record = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "seed": 0}
    RECORD.write_text(json.dumps(record | {"rows": ROWS, "tables": tables}, indent=1))
    for table in tables:
        print(
            f"{table['columns']:>4} columns {table['rows_per_second']:>9,.0f} rows/s, "
            f"{table['microseconds_a_cell']:.2f} us a cell, {table['profile']}"
        )


def measure(columns: int) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        model, out = Path(scratch) / "model", Path(scratch) / "out.parquet"
        TabDAR.fit(table(columns), epochs=1, seed=0).save(model)
        TabDAR.load(model).export()
        sampler = OnnxSampler.load(model)
        sampler.write_rows(out, 2048)  # what is loaded once is loaded
        sampler.engine.watch.seconds.clear()
        seconds = []
        for _ in range(TIMES):
            started = time.perf_counter()
            sampler.write_rows(out, ROWS)
            seconds.append(time.perf_counter() - started)
    middle = statistics.median(seconds)
    parts = {part: round(s / TIMES, 3) for part, s in sampler.engine.watch.seconds.items()}
    return {
        "columns": columns,
        "seconds": seconds,
        "rows_per_second": ROWS / middle,
        "microseconds_a_cell": 1e6 * middle / ROWS / columns,
        "profile": parts,  # thread seconds
    }


def table(columns: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    made, before = {}, rng.normal(size=LEARNED)
    for c in range(columns):
        before = 0.7 * before + 0.7 * rng.normal(size=LEARNED)
        codes = np.digitize(before, np.linspace(-1.5, 1.5, 9)).astype(str)
        made[f"c{c}"] = before if c % 2 else codes
    return pd.DataFrame(made)


if __name__ == "__main__":
    main()
