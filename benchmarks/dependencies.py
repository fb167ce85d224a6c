"""Tables whose dependencies are known, learned and asked in every direction.

    python benchmarks/dependencies.py MODELS [--seconds 60] [--seed 0] [--tables chain xor ...] [--fit-only]

Of each table 20,000 rows are learned, and the model is kept in the folder MODELS. Then each column is asked given each other one, and given all others, level by
level of categories and third by third of numbers, and compared with a million true rows under the same condition:
total variation for categories, Kolmogorov-Smirnov distance for numbers, and the share of missing cells where there are any.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import duckdb
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from conditionals import kolmogorov_smirnov, total_variation
from models import kept
from quality import machine

from tabdar_pipeline import TabDAR

RECORD = Path(__file__).parent / "results" / "dependencies.json"
PLOT = Path(__file__).parents[1] / "docs" / "images" / "dependencies.png"
LEARNED, DRAWN, TRUE = 20_000, 10_000, 1_000_000
LEAST = 0.01  # of the rows: rarer conditions are not asked
LIMIT = {"tv": 0.03, "ks": 0.05}
Rng = np.random.Generator


def chain(rng: Rng, n: int) -> dict:
    """First -> second -> third."""
    first = rng.normal(size=n)
    second = first + rng.normal(size=n) * 0.7
    return {"first": first, "second": second, "third": np.digitize(second + rng.normal(size=n), [-1, 0.5])}


def fork(rng: Rng, n: int) -> dict:
    """Both sides follow from the cause."""
    cause = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    right = (rng.random(n) < np.array([0.1, 0.5, 0.9])[cause]).astype(int)
    return {"cause": cause, "left": rng.normal(np.array([-1.0, 0.5, 2.0])[cause], 1), "right": right}


def collider(rng: Rng, n: int) -> dict:
    """Two independent causes of one effect: dependent once it is known."""
    one, other = rng.normal(size=(2, n))
    return {"one": one, "other": other, "effect": (one + other + 0.3 * rng.normal(size=n) > 1).astype(int)}


def xor(rng: Rng, n: int) -> dict:
    """Each pair is independent, the three are not."""
    p, q = rng.integers(0, 2, (2, n))
    return {"p": p, "q": q, "r": p ^ q ^ (rng.random(n) < 0.05)}


def function(rng: Rng, n: int) -> dict:
    """A number that follows exactly from two others."""
    u, v = rng.uniform(1, 3, n), rng.normal(size=n)
    return {"u": u, "v": v, "w": u * v}


def interaction(rng: Rng, n: int) -> dict:
    """A parity of three: nothing but all of them tells."""
    a, b, c = rng.integers(0, 2, (3, n))
    return {"a": a, "b": b, "c": c, "parity": a ^ b ^ c ^ (rng.random(n) < 0.1)}


def mixture(rng: Rng, n: int) -> dict:
    """Five clusters on a circle, of unequal weights."""
    part = rng.choice(5, n, p=[0.4, 0.25, 0.2, 0.1, 0.05])
    angle = 2 * np.pi * part / 5
    x, y = (3 * turn(angle) + rng.normal(size=n) * 0.5 for turn in (np.cos, np.sin))
    return {"part": part, "x": x, "y": y}


def mnar(rng: Rng, n: int) -> dict:
    """A number is missing the more often, the larger it is."""
    cause = rng.normal(size=n)
    number = cause + rng.normal(size=n) * 0.5
    gone = rng.random(n) < 1 / (1 + np.exp(-2 * number))
    return {"cause": cause, "number": np.where(gone, np.nan, number), "group": np.digitize(cause, [0])}


TABLES: dict[str, Callable[[Rng, int], dict]] = {
    f.__name__: f for f in (chain, fork, collider, xor, function, interaction, mixture, mnar)
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tables", nargs="*", default=list(TABLES))
    parser.add_argument("--fit-only", action="store_true")
    args = parser.parse_args()
    for name in args.tables:
        model = learned(name, args)
        if args.fit_only:
            continue
        cases = list(measure(model, name, args.seed))
        records = [r for r in read() if r["table"] != name]
        record = {
            "table": name,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "seconds": args.seconds,
            "seed": args.seed,
            "cases": cases,
            "within": sum(c["distance"] <= LIMIT[c["figure"]] for c in cases),
            "worst": {
                f: max((c["distance"] for c in cases if c["figure"] == f), default=None) for f in LIMIT
            },
        }
        RECORD.write_text(json.dumps([*records, record], indent=1))
        print(
            f"{name:12} {record['within']} of {len(cases)} within {LIMIT}, worst {record['worst']}",
            flush=True,
        )
    draw(read())


def read() -> list[dict]:
    return json.loads(RECORD.read_text()) if RECORD.exists() else []


def learned(name: str, args: argparse.Namespace) -> TabDAR:
    """The model of a table, after so many seconds of one core."""
    rows = made(name, args.seed, 0, LEARNED)
    folder = args.models / f"{name}-{args.seconds:.0f}-{args.seed}"
    return kept(folder, lambda: TabDAR.fit(rows, name=name, seconds=args.seconds, seed=args.seed, threads=1))


def made(name: str, seed: int, stream: int, rows: int) -> pd.DataFrame:
    return pd.DataFrame(TABLES[name](np.random.default_rng([seed, stream]), rows))


def measure(model: TabDAR, name: str, seed: int) -> Iterator[dict]:
    true, fresh = made(name, seed, 1, TRUE), made(name, seed, 2, LEARNED)
    every = {column: strata(true, column) for column in true}
    with duckdb.connect() as db:
        db.register("people", true)
        db.register("fresh", fresh)
        for asked in true:
            others = [column for column in true if column != asked]
            given = [(column,) for column in others] + [tuple(others)] * (len(others) > 1)
            for where in (" AND ".join(w) for g in given for w in product(*(every[c] for c in g))):
                real, noise = (
                    db.sql(f'SELECT "{asked}" FROM {of} WHERE {where}').df()[asked]
                    for of in ("people", "fresh")
                )
                if len(real) >= LEAST * TRUE:
                    drawn = model.sample(DRAWN, seed=1, where=where)[asked]
                    figure = "tv" if true[asked].nunique() < 10 else "ks"
                    yield {
                        "given": where,
                        "asked": asked,
                        "share_of_rows": len(real) / TRUE,
                        "figure": figure,
                        "distance": distance(real, drawn, figure),
                        "noise": distance(real, noise, figure),
                    }


def strata(rows: pd.DataFrame, column: str) -> list[str]:
    """Conditions: each level, or each third of the numbers; and missing cells."""
    values = rows[column].dropna()
    if values.nunique() < 10:
        found = [f'"{column}" = {level}' for level in sorted(values.unique())]
    else:
        low, high = values.quantile([1 / 3, 2 / 3]).round(3)
        found = [f'"{column}" < {low}', f'"{column}" BETWEEN {low} AND {high}', f'"{column}" > {high}']
    return found + [f'"{column}" IS NULL'] * bool(rows[column].isna().any())


def distance(real: pd.Series, drawn: pd.Series, figure: str) -> float:
    """Of the values; or of the shares of missing cells, where that is larger."""
    if figure == "tv":
        return total_variation(real, drawn)
    missing = abs(real.isna().mean() - drawn.isna().mean())
    present = [s.dropna() for s in (real, drawn)]
    return float(max(missing, kolmogorov_smirnov(*present) if all(map(len, present)) else 0.0))


def draw(records: list[dict]) -> None:
    """Each case's distance over the distance that fresh true rows have."""
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    rng = np.random.default_rng(0)
    for i, record in enumerate(records):
        for name, colour in (("tv", "tab:blue"), ("ks", "tab:orange")):
            found = [c["distance"] for c in record["cases"] if c["figure"] == name]
            axes.scatter(i + rng.uniform(-0.3, 0.3, len(found)), found, s=10, color=colour, alpha=0.6)
    for name, colour in (("tv", "tab:blue"), ("ks", "tab:orange")):
        words = {"tv": "total variation", "ks": "Kolmogorov-Smirnov"}[name]
        axes.axhline(LIMIT[name], color=colour, lw=1, ls="--", label=f"{words}: {LIMIT[name]}")
    axes.set_xticks(range(len(records)), [r["table"] for r in records])
    axes.set_ylabel("distance from the true conditional")
    axes.set_ylim(0)
    axes.legend()
    figure.savefig(PLOT, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
