"""Conditionals of a fitted model against the known truth of the demo's structural model, in both directions.

    python benchmarks/conditionals.py [--seconds 120] [--seed 0]

Fits crm.customers (20,000 rows), draws rows under conditions, and compares each distribution with that
of two million rows of the structural model under the same condition: total variation for categories,
Kolmogorov-Smirnov distance for numbers. Beside each stands the distance of the rows that were learned themselves: what
they alone say, and a model that knew them by heart.
"""

import argparse
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from quality import machine
from scipy.stats import ks_2samp

from tabdar_pipeline import TabDAR
from tabdar_pipeline.warehouse.customers import customers
from tabdar_pipeline.warehouse.demo import build_demo

RECORD = Path(__file__).parent / "results" / "conditionals.json"
DRAWN, TRUE = 20_000, 2_000_000
CASES = [  # what is given, and what is asked; forwards, backwards, across
    ("plan = 'free'", "age"),
    ("plan = 'business'", "age"),
    ("plan = 'business'", "region"),
    ("region = 'abroad'", "plan"),
    ("age BETWEEN 20 AND 28", "plan"),
    ("age BETWEEN 55 AND 70", "plan"),
    ("age BETWEEN 55 AND 70", "newsletter"),
    ("newsletter", "age"),
    ("NOT newsletter", "age"),
    ("plan = 'plus'", "orders"),
    ("orders BETWEEN 4 AND 6", "plan"),
    ("orders >= 12", "plan"),
    ("plan = 'basic'", "spend"),
    ("orders = 3", "spend"),
    ("spend BETWEEN 50 AND 150", "orders"),
    ("spend > 200", "plan"),
    ("plan = 'plus'", "discount"),
    ("discount = 0", "plan"),
    ("plan = 'plus'", "income"),
    ("income > 60000", "plan"),
    ("income IS NULL", "plan"),
    ("plan = 'business'", "satisfaction"),
    ("satisfaction = 5", "plan"),
    ("satisfaction IS NULL", "newsletter"),
    ("signup >= '2024-01-01'", "last_seen"),
    ("age BETWEEN 20 AND 40 AND spend > 100 AND region = 'north'", "plan"),
    ("age BETWEEN 20 AND 40 AND spend > 100", "age"),
    (
        "plan = 'business' AND region = 'abroad' AND satisfaction = 3",
        "newsletter",
    ),  # half a per cent and fewer
    ("age BETWEEN 60 AND 70 AND spend > 600", "plan"),
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "demo.duckdb"
        build_demo(path)
        rows = duckdb.connect(str(path), read_only=True).table("crm.customers").to_arrow_table()
        model = TabDAR.fit(rows, name="crm.customers", seconds=args.seconds, seed=args.seed)
        truth = duckdb.connect()
        truth.register("people", customers(TRUE, seed=12345))
        truth.register("learned", rows)
        free = timed(lambda: model.sample(DRAWN, seed=1))
        free = timed(lambda: model.sample(DRAWN, seed=1))  # the first one exported the graphs
        found = [measure(model, truth, where, asked, free) for where, asked in CASES]
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "seconds": args.seconds,
        "seed": args.seed,
        "rows": len(rows),
        "free_s": free,
        "cases": found,
        "worst_tv": max(c["distance"] for c in found if c["figure"] == "tv"),
        "worst_ks": max(c["distance"] for c in found if c["figure"] == "ks"),
        "slowest": max(c["times_free"] for c in found),
    }
    RECORD.write_text(json.dumps(record, indent=1))
    print({k: v for k, v in record.items() if k.startswith(("worst", "slowest"))})


def measure(model: TabDAR, truth: duckdb.DuckDBPyConnection, where: str, asked: str, free: float) -> dict:
    started = time.perf_counter()
    drawn = model.sample(DRAWN, seed=1, where=where)[asked]
    seconds = time.perf_counter() - started
    real, learned = (
        truth.sql(f"SELECT {asked} FROM {table} WHERE {where}").df()[asked] for table in ("people", "learned")
    )
    figure = "tv" if asked in ("plan", "region", "newsletter", "satisfaction") else "ks"
    record = {
        "given": where,
        "asked": asked,
        "share_of_rows": len(real) / TRUE,
        "figure": figure,
        "distance": distance(real, drawn, figure),
        "learned": distance(real, learned, figure),
        "times_free": seconds / free,
    }
    print(
        f"{asked:13} | {where:60} {figure} {record['distance']:.3f} (learned {record['learned']:.3f}) "
        f"{record['times_free']:.1f}x",
        flush=True,
    )
    return record


def total_variation(a: pd.Series, b: pd.Series) -> float:
    if pd.api.types.is_numeric_dtype(a):
        a, b = a.astype(float), b.astype(float)  # nullable or not
    shares = [s.astype("string").value_counts(normalize=True, dropna=False) for s in (a, b)]
    both = pd.concat(shares, axis=1).fillna(0)
    return float(np.abs(both.iloc[:, 0] - both.iloc[:, 1]).sum() / 2)


def kolmogorov_smirnov(a: pd.Series, b: pd.Series) -> float:
    numbers = [
        pd.to_datetime(s.dropna()).astype("datetime64[ns]").astype("int64")
        if pd.api.types.is_datetime64_any_dtype(a)
        else s.dropna().astype(float)
        for s in (a, b)
    ]
    return float(ks_2samp(*numbers).statistic)


def distance(a: pd.Series, b: pd.Series, figure: str) -> float:
    return total_variation(a, b) if figure == "tv" else kolmogorov_smirnov(a, b)


def timed(work: object) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
