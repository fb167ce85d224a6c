"""Figures about two tables: what they say of real rows, of copies, of noise; and the judge's opinion."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.quality import plots, report
from tabdar_pipeline.quality.audit import NAMES
from tabdar_pipeline.quality.figures import Figures, evaluate
from tabdar_pipeline.quality.hidden import DRAWS, LEVEL, ColumnTest, filling_tests, hide
from tabdar_pipeline.quality.holdout import split
from tabdar_pipeline.release.decision import Decision
from tabdar_pipeline.schemas.columns import Kind
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.schemas.suite import Limit


def people(rows: int, seed: int, shift: float = 0.0) -> pa.Table:
    """Two numbers and two categories that depend on each other."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, rows)
    age = rng.normal(30 + 10 * group + shift, 5)
    income = age * 1000 + rng.normal(0, 3000, rows)
    return pa.table(
        {"group": group.astype(str), "age": age, "income": income, "rich": (income > 40_000).astype(str)}
    )


TRAIN, HOLDOUT, FRESH = (people(1500, seed) for seed in (0, 1, 2))
SCHEMA = infer_schema(TRAIN, "people")


def test_fresh_real_rows_score_the_floor() -> None:
    """Nothing is held against an honest table."""
    figures = evaluate(TRAIN, HOLDOUT, FRESH, SCHEMA, target="rich")

    assert abs(figures.values["shape_error"] - figures.floor["shape_error"]) < 1.5
    assert abs(figures.values["c2st_boosted"] - 0.5) < 0.06
    assert abs(figures.values["dcr_share"] - 0.5) < 0.06
    assert figures.values["copies"] == 0
    assert figures.values["utility"] > 0.9


def test_numbers_at_the_limits_of_a_float_are_compared() -> None:
    """As others are: squares of theirs overflow, or vanish; whole numbers far from zero have few floats."""
    parts = [
        t.append_column("huge", pa.array(t["age"].to_numpy() * 1e306))
        .append_column("denormal", pa.array(t["income"].to_numpy() * 1e-315))
        .append_column("far", pa.array((t["age"].to_numpy() * 20).astype(int) + 9_223_372_036_854_700_000))
        for t in (TRAIN, HOLDOUT, FRESH)
    ]
    found = evaluate(*parts, infer_schema(parts[0], "people"), target="rich")

    assert all(np.isfinite(value) for value in found.values.values())
    assert found.values["trend_error"] < 15
    assert abs(found.values["c2st_boosted"] - 0.5) < 0.06


def test_a_shifted_table_is_told_apart() -> None:
    """Shape, detection and support each notice."""
    figures = evaluate(TRAIN, HOLDOUT, people(1500, 3, shift=15), SCHEMA)

    assert figures.values["shape_error"] > figures.floor["shape_error"] + 10
    assert figures.values["c2st_boosted"] > 0.7
    assert figures.values["off_support"] > 0


def test_a_memoriser_is_caught() -> None:
    """Training rows given out again, exactly or with a little noise."""
    noisy = TRAIN.set_column(1, "age", pa.array(TRAIN["age"].to_numpy() + 1e-4))
    copied, near = (evaluate(TRAIN, HOLDOUT, t, SCHEMA).values for t in (TRAIN, noisy))

    assert copied["copies"] == 1
    assert copied["dcr_share"] > 0.9
    assert near["dcr_share"] > 0.9


def test_the_split_is_stable_and_puts_twins_on_one_side() -> None:
    """By content: shuffled rows fall where they fell."""
    rows = pa.concat_tables([TRAIN, TRAIN.slice(0, 300)])
    shuffled = rows.take(pa.array(np.random.default_rng(0).permutation(len(rows))))
    one, two = split(rows), split(shuffled)

    key = lambda t: sorted(map(str, t.to_pylist()))  # noqa: E731
    assert key(one.holdout) == key(two.holdout)
    assert not set(key(one.train)) & set(key(one.holdout))
    assert abs(len(one.holdout) / len(rows) - 0.2) < 0.04


def test_a_missing_cell_moves_no_other_row_to_the_other_side() -> None:
    """Whole numbers beside a NULL are no floats: what was trained on is never tested."""
    rows = pa.table({"n": pa.array(range(1000), pa.int64()), "day": pa.array(range(1000), pa.date32())})
    holed = pa.table({"n": pa.array([None, *range(1, 1000)], pa.int64()), "day": rows["day"]})

    assert not set(split(holed).train["day"].to_pylist()[1:]) & set(split(rows).holdout["day"].to_pylist())


def test_tables_without_numbers_or_without_categories_are_measured() -> None:
    """And with missing cells anywhere."""
    for names in (["group", "rich"], ["age", "income"]):
        tables = [
            t.select(names).set_column(0, names[0], pa.array([None, *t[names[0]].to_pylist()[1:]]))
            for t in (TRAIN, HOLDOUT, FRESH)
        ]
        figures = evaluate(*tables, infer_schema(tables[0], "t"))
        assert all(np.isfinite(v) for v in figures.values.values())


def test_figures_round_trip_and_an_unknown_target_is_refused() -> None:
    """As JSON."""
    figures = evaluate(TRAIN.slice(0, 200), HOLDOUT, FRESH, SCHEMA)

    assert Figures.from_json(json.loads(json.dumps(figures.to_json()))) == figures
    with pytest.raises(UsageError, match="target must be"):
        evaluate(TRAIN, HOLDOUT, FRESH, SCHEMA, target="nobody")


def test_the_report_asks_the_network_for_nothing() -> None:
    """Self-contained, escaped, with the pictures inside."""
    names = ["<b>group</b>", "age", "income", "rich"]
    tables = [t.rename_columns(names) for t in (TRAIN, HOLDOUT, FRESH)]
    schema = infer_schema(tables[0], "people")
    figures = evaluate(*tables, schema)
    page = report.html(
        figures, tables[0], tables[2], schema, title="<script>alert(1)</script>", facts={"a": "<i>"}
    )

    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "<script>" not in page and "<i>" not in page
    assert page.count("data:image/png;base64,") >= 3
    assert plots.floor_png(figures).startswith(b"\x89PNG")


def test_times_are_written_as_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Months, days or minutes, by how far they reach; hours of a day are no date."""
    import datetime as dt

    monkeypatch.setattr(plots, "_png", lambda figure: figure)
    begin = dt.datetime(2024, 2, 1)
    table = pa.table(
        {
            "year": [begin + dt.timedelta(days=i) for i in range(1000)],
            "week": [(begin + dt.timedelta(days=i % 21)).date() for i in range(1000)],
            "hour": [begin + dt.timedelta(seconds=i) for i in range(1000)],
            "clock": [(begin + dt.timedelta(seconds=i)).time() for i in range(1000)],
        }
    )
    figure = plots.columns_png(table, table, infer_schema(table, "t"), {})
    figure.canvas.draw()
    ticks = [[t.get_text() for t in axis.get_xticklabels()] for axis in figure.axes[:4]]
    assert all(re.fullmatch(r"202\d-\d\d", t) for t in ticks[0])
    assert all(re.fullmatch(r"2024-0[123]-\d\d", t) for t in ticks[1])
    assert all(re.fullmatch(r"2024-0[12]-\d\dT\d\d:\d\d", t) for t in ticks[2])
    assert not any("2024" in t or "1970" in t for t in ticks[3])


def test_figures_agree_with_the_judge(benchmarks: Path, judge_python: str, tmp_path: Path) -> None:
    """Within sampling error, on shoppers with the holdout's rows disturbed."""
    judge = [judge_python, str(benchmarks / "judge.py")]
    subprocess.run([*judge, "split", "shoppers", str(tmp_path)], check=True)
    train, holdout = (pq.read_table(tmp_path / f"{n}.parquet") for n in ("train", "holdout"))
    rng = np.random.default_rng(0)
    disturbed = holdout.set_column(
        holdout.column_names.index("ExitRates"),
        "ExitRates",
        pa.array(rng.permutation(holdout["ExitRates"].to_numpy())),
    )
    pq.write_table(disturbed, tmp_path / "made.parquet")
    files = [str(tmp_path / f"{n}.parquet") for n in ("train", "holdout", "made")]
    scores = json.loads(
        subprocess.run(
            [*judge, "score", "shoppers", *files], check=True, capture_output=True, text=True
        ).stdout
    )
    ours = evaluate(train, holdout, disturbed, infer_schema(train, "shoppers"), target="Revenue")
    within = {
        "shape_error": 0.1,
        "trend_error": 0.1,
        "jsd": 0.005,
        "alpha_precision": 2.0,
        "beta_recall": 3.0,
        "c2st_boosted": 0.03,
        "utility": 0.03,
        "dcr_share": 0.04,
        "copies": 0.005,
        "off_support": 0.005,
    }
    for name, tolerance in within.items():
        assert abs(ours.values[name] - scores["synthetic"][name]) <= tolerance, name


def test_the_report_shows_the_audit_and_what_was_protected() -> None:
    """Each attack with its control, inference by column, and counts that say nothing of anyone."""
    figures = evaluate(TRAIN, HOLDOUT, FRESH, SCHEMA)
    decision = Decision(False, ("no",), (Limit("inference", None, 0.1, ""),))
    kept = {"<age>": {"rows": 6, "levels": 0, "cells": 0, "clipped": 1234}}
    page = report.html(figures, TRAIN, FRESH, SCHEMA, title="t", decision=decision, protected=kept)

    assert set(NAMES) < set(figures.values) == set(figures.floor)
    for name in NAMES:
        assert f"<td>{name}</td><td>{report.EXPLAINED[name][2]}</td>" in page
    assert "Inference, column by column" in page
    assert "<td>&lt;age&gt;</td>" in page and '<td class="n">1,234</td>' in page


def test_intervals_of_perfect_draws_hold_what_they_promise() -> None:
    """Hidden cells of one column, filled from its own distribution: nine of ten lie in the interval."""
    rng, rows = np.random.default_rng(0), pa.table({"x": np.random.default_rng(1).normal(size=2000)})

    def draw(holed: pa.Table) -> pa.Table:
        fresh = pa.array(rng.normal(size=len(holed)))
        return pa.table({"x": pa.compute.coalesce(holed["x"], fresh)})

    tests = [
        filling_tests(
            rows, rows, infer_schema(rows, "t"), draw, lambda it: [draw(it) for _ in range(DRAWS)], seed=seed
        )[0]
        for seed in range(8)
    ]
    assert hide(rows, ["x"], rng)["x"].null_count > 500
    assert abs(np.mean([test.coverage for test in tests]) - LEVEL) < 0.01
    assert abs(np.mean([test.coverage_by_rank for test in tests]) - LEVEL) < 0.01
    assert all(test.calibrated for test in tests)


def test_intervals_of_numbers_that_repeat_are_judged_by_rank() -> None:
    """The ends of a closed one have a share of their own; and draws that are too sure of themselves are told."""
    rows = pa.table({"x": np.random.default_rng(1).integers(0, 4, 2000)})

    def tested(spread: int) -> ColumnTest:
        rng = np.random.default_rng(0)
        draws = (pa.array(rng.integers(0, spread, len(rows))) for _ in range(DRAWS + 1))
        fill = lambda holed: pa.table({"x": pa.compute.coalesce(holed["x"], next(draws))})  # noqa: E731
        schema = infer_schema(rows, "t", {"x": "BIGINT"})
        schema = replace(schema, columns=(replace(schema["x"], kind=Kind.NUMBER),))
        return filling_tests(rows, rows, schema, fill, lambda it: [fill(it) for _ in range(DRAWS)], seed=0)[0]

    right, sure = tested(4), tested(2)
    assert right.coverage is not None and right.coverage_by_rank is not None
    assert right.coverage > 0.97 and 0.87 < right.coverage_by_rank < 0.93
    assert right.calibrated and not sure.calibrated
