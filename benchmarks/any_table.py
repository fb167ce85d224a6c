"""Types, rules, rhythms and memory on tables that were not chosen for us to do well on; one record a part.

    python benchmarks/any_table.py BENCHMARKS JUDGE_PYTHON tables taxi orders million

tables: every table of BENCHMARKS through DuckDB, `tabdar fit` for a few seconds: types of the synthetic table, and the judge's
off_support. taxi, orders: tables with a known truth (tables.py). million: a million rows, 50,000 levels in one column: peak memory of
the whole process of `tabdar fit`. A part that was measured already is not measured again.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from quality import machine, run, timed
from tables import many_levels, orders, taxi

from tabdar_pipeline.schemas.constraints import Dependency, Inequality, NullWhen, Sum

RECORDS = Path(__file__).parent / "results" / "any_table.json"
COMMAND = str(Path(sys.executable).with_name("tabdar"))
TABLES = [
    "adult",
    "beijing",
    "california",
    "car",
    "default",
    "letter",
    "magic",
    "news_part",
    "nursery",
    "shoppers",
]
OFF_SUPPORT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import judge
info = judge.dataset(sys.argv[2], sys.argv[1])
train, _, made = judge.prepared(info, *[judge.read(path) for path in (sys.argv[3], sys.argv[3], sys.argv[4])])
print(json.dumps(judge.off_support(info, train, made)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("judge_python")
    parser.add_argument("parts", nargs="+", choices=["tables", "taxi", "orders", "million"])
    parser.add_argument("--again", action="store_true", help="measure anew")
    args = parser.parse_args()
    named: dict[str, Callable[[Path], dict]] = {
        "taxi": measure_taxi,
        "orders": measure_orders,
        "million": measure_million,
    }
    for part in args.parts:
        for name in TABLES if part == "tables" else [part]:
            records = json.loads(RECORDS.read_text()) if RECORDS.exists() else {}
            if name in records and not args.again:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                work = Path(scratch)
                found = named[name](work) if name in named else measure_table(args, name, work)
            record = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()} | found
            record["versions"] = {n: version(n) for n in ("tabdar-pipeline", "torch", "duckdb", "pyarrow")}
            RECORDS.write_text(json.dumps(records | {name: record}, indent=1))
            print(name, json.dumps(found), flush=True)


def measure_table(args: argparse.Namespace, name: str, work: Path) -> dict:
    """Types and support of one public table."""
    run([args.judge_python, str(args.benchmarks / "judge.py"), "split", name, str(work)])
    train = pq.read_table(work / "train.parquet")
    made, facts = through_duckdb(train, work, seconds=15)
    pq.write_table(made, work / "made.parquet")
    files = [str(work / "train.parquet"), str(work / "made.parquet")]
    off = json.loads(run([args.judge_python, "-c", OFF_SUPPORT, str(args.benchmarks), name, *files]))
    return facts | {"off_support": off}


def measure_taxi(work: Path) -> dict:
    """Rules that every trip keeps, and how trips fall into hours, weekdays and patterns of NULL."""
    real = taxi(50_000)
    made, facts = through_duckdb(real, work, seconds=60)
    rules = {
        "pickup < dropoff": Inequality("pickup", "dropoff", strict=True),
        "total = fare + tip + tolls": Sum("total", ("fare", "tip", "tolls"), decimals=2),
        "no rating exactly in cash": NullWhen("rating", "payment", ("cash",)),
    }
    broken = {name: int(rule.broken(made).sum()) for name, rule in rules.items()}
    broken["zone determines borough"] = int(Dependency("zone", "borough").unlike(made, real).sum())
    together = [pc.is_null(made[name]) for name in ("passengers", "rate")]
    broken["passengers and rate missing together"] = int(pc.sum(pc.not_equal(*together)).as_py() or 0)
    apart = {
        "hour": distance(*(hours(it["pickup"]) for it in (real, made))),
        "weekday": distance(*(weekdays(it["pickup"]) for it in (real, made))),
        "missing beside payment": distance(
            *(
                np.char.add(np.array(it["payment"], str), np.array(pc.is_null(it["rate"]), str))
                for it in (real, made)
            )
        ),
    }
    keys = len(set(real["trip_id"].to_pylist()) & set(made["trip_id"].to_pylist()))
    return facts | {"rows_that_break": broken, "total_variation": apart, "real_keys": keys}


def measure_orders(work: Path) -> dict:
    """Shares of rows that fall on what is frequent, and on what never occurs: real and synthetic."""
    real = orders(5_000)
    made, facts = through_duckdb(real, work, seconds=60)
    return facts | {"shares": {name: [rhythm(it) for it in (real, made)] for name, rhythm in RHYTHMS.items()}}


def measure_million(work: Path) -> dict:
    """Peak memory of a fit to a million rows with 50,000 levels."""
    real = many_levels(1_000_000, 50_000)
    made, facts = through_duckdb(real, work, seconds=120, rows=100_000)
    known = set(pc.unique(real["product"]).to_pylist())
    seen = set(pc.unique(made["product"]).to_pylist())
    split = Dependency("product", "category").unlike(made, real)
    return facts | {
        "levels": len(known),
        "levels_drawn": len(seen),
        "unknown": len(seen - known),
        "unlike_category": float(split.mean()),
    }


def through_duckdb(
    table: pa.Table, work: Path, seconds: float, rows: int | None = None
) -> tuple[pa.Table, dict]:
    """A synthetic table of a table of a database, in another one; the types of both, and what the fit took."""
    source, target, model = work / "source.duckdb", work / "made.duckdb", work / "model"
    with duckdb.connect(str(source)) as connection:
        connection.register("rows", table)
        connection.execute("CREATE TABLE source AS SELECT * FROM rows")
    fit = timed(
        [COMMAND, "fit", str(source), str(model), "--table", "source", "--seconds", str(seconds), "--json"]
    )
    many = str(rows or table.num_rows)
    run(
        [
            COMMAND,
            "sample",
            str(model),
            str(target),
            "--table",
            "made",
            "--rows",
            many,
            "--seed",
            "1",
            "--json",
        ]
    )
    with duckdb.connect(str(source)) as one, duckdb.connect(str(target)) as other:
        types = [c.execute(f"DESCRIBE {name}").fetchall() for c, name in ((one, "source"), (other, "made"))]
        made = other.sql("FROM made").to_arrow_table()
    return made, {
        "rows": table.num_rows,
        "types_equal": [row[:2] for row in types[0]] == [row[:2] for row in types[1]],
        "constraints": fit["printed"]["constraints"],
        "epochs": fit["printed"]["epochs"],
        "seconds": seconds,
        "peak_mb": fit["peak_mb"],
    }


def days(values: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(values.to_numpy()).astype("datetime64[D]")


def weekdays(values: pa.ChunkedArray) -> np.ndarray:
    return (days(values).astype(int) + 3) % 7


def hours(values: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.hour(values))


def distance(real: np.ndarray, made: np.ndarray) -> float:
    """Total variation of two columns."""
    levels = np.unique(np.concatenate([real, made]))
    shares = [
        np.bincount(np.searchsorted(levels, it), minlength=len(levels)) / len(it) for it in (real, made)
    ]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def month_ends(values: pa.ChunkedArray) -> np.ndarray:
    day = days(values)
    return (day.astype("datetime64[M]") + 1).astype("datetime64[D]") - 1 == day


def christmas(values: pa.ChunkedArray) -> np.ndarray:
    day = days(values)
    month = day.astype("datetime64[M]")
    return (month.astype(int) % 12 == 11) & ((day - month.astype("datetime64[D]")).astype(int) == 24)


def cents(values: pa.ChunkedArray) -> np.ndarray:
    return np.rint(np.asarray(values.cast(pa.float64())) * 100) % 100


RHYTHMS: dict[str, Callable[[pa.Table], float]] = {
    "ordered on a weekend": lambda t: float((weekdays(t["ordered"]) > 4).mean()),
    "invoiced on the last day of a month": lambda t: float(month_ends(t["invoiced"]).mean()),
    "sold on a Sunday": lambda t: float((weekdays(t["sold"]) == 6).mean()),
    "sold on 25 December": lambda t: float(christmas(t["sold"]).mean()),
    "logged at midnight": lambda t: float(np.mean(np.asarray(t["logged"].to_numpy()) == days(t["logged"]))),
    "logged from 10 to 16 h": lambda t: float(np.isin(hours(t["logged"]), range(10, 16)).mean()),
    "price ends in .99": lambda t: float((cents(t["price"]) == 99).mean()),
    "price ends in .95": lambda t: float((cents(t["price"]) == 95).mean()),
    "weight off the grid of 0.05": lambda t: float(
        (np.abs(np.asarray(t["weight"]) * 20 % 1 - 0.5) < 0.49).mean()
    ),
    "budget off whole hundreds": lambda t: float((np.asarray(t["budget"]) % 100 != 0).mean()),
}


if __name__ == "__main__":
    main()
