"""Rows under conditions: what is asked holds in every row, and what cannot hold is refused."""

import datetime as dt
import json
import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import mixed_table
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tabdar_pipeline import normal
from tabdar_pipeline.cli import app
from tabdar_pipeline.cli.shares import read_shares
from tabdar_pipeline.conditions import resolve
from tabdar_pipeline.errors import ConditionError, UsageError
from tabdar_pipeline.predicates import parse
from tabdar_pipeline.sampling.complete import complete
from tabdar_pipeline.sampling.draws import Draws
from tabdar_pipeline.sampling.engine import Cells, Condition
from tabdar_pipeline.sampling.limits import Limit
from tabdar_pipeline.sampling.memory import Memory
from tabdar_pipeline.sampling.resampled import SPARE, choose, resampled
from tabdar_pipeline.sampling.stopwatch import Stopwatch
from tabdar_pipeline.synthesizer import TabDAR

ROWS = 3000


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ("level = 'low'", lambda r: r["level"] == "low"),
        ("LEVEL IN ('low', 'mid') AND active", lambda r: r["level"] in ("low", "mid") and r["active"]),
        ("level <> 'low' AND NOT active", lambda r: r["level"] != "low" and not r["active"]),
        ("score BETWEEN 0.25 AND 0.75", lambda r: 0.25 <= r["score"] <= 0.75),
        (
            "1.5 < score AND amount > 0 AND visits >= 2",
            lambda r: r["score"] > 1.5 and r["amount"] > 0 and r["visits"] >= 2,
        ),
        ("amount = 0", lambda r: r["amount"] == 0),
        ("visits NOT IN (0, 1) AND rating IS NULL", lambda r: r["visits"] > 1 and r["rating"] is None),
        ("rating IS NOT NULL AND rating <> 2", lambda r: r["rating"] in (1, 3)),
        (
            "joined >= DATE '2021-05-01' AND joined < '2021-06-01'",
            lambda r: dt.date(2021, 5, 1) <= r["joined"] < dt.date(2021, 6, 1),
        ),
        ("seen < TIMESTAMP '2024-02-01 00:00:00'", lambda r: r["seen"] < dt.datetime(2024, 2, 1)),
        ('"odd ""name"". select" > \'12:00:00\'', lambda r: r['odd "name". select'] > dt.time(12)),
        (
            "score > -0.1 AND score < 0.1 AND amount BETWEEN 5 AND 20",
            lambda r: -0.1 < r["score"] < 0.1 and 5 <= r["amount"] <= 20,
        ),
        ("visits NOT BETWEEN 1 AND 4", lambda r: not 1 <= r["visits"] <= 4),
        ("visits BETWEEN SYMMETRIC 4 AND 2", lambda r: 2 <= r["visits"] <= 4),
        ("visits NOT BETWEEN SYMMETRIC 4 AND 1", lambda r: not 1 <= r["visits"] <= 4),
        ("active IS TRUE AND level IS DISTINCT FROM 'low'", lambda r: r["active"] and r["level"] != "low"),
        ("active IS NOT TRUE", lambda r: not r["active"]),
        ("rating IS DISTINCT FROM 2", lambda r: r["rating"] != 2),
        ("rating IS NOT DISTINCT FROM NULL", lambda r: r["rating"] is None),
        ("rating IS NULL OR rating = 3", lambda r: r["rating"] in (None, 3)),
        ("NOT (rating = 3)", lambda r: r["rating"] in (1, 2)),
        ("score < 0 OR score BETWEEN 1 AND 1.5", lambda r: r["score"] < 0 or 1 <= r["score"] <= 1.5),
        ("NOT (visits < 2 OR level = 'low')", lambda r: r["visits"] >= 2 and r["level"] != "low"),
        ("(visits < 2 OR visits > 4) AND (visits > 0)", lambda r: r["visits"] == 1 or r["visits"] > 4),
        ("level LIKE '%i_' OR level ILIKE 'LO%'", lambda r: r["level"] in ("mid", "low")),
        ("level NOT LIKE '%i%'", lambda r: r["level"] == "low"),
        ("level NOT IN ('low', 'never') AND level <> 'none'", lambda r: r["level"] in ("mid", "high")),
        (
            "level IN ('low', 'never') AND visits IN (2, 9999)",
            lambda r: (r["level"], r["visits"]) == ("low", 2),
        ),
        ("country = 'NL' AND nothing IS NULL", lambda r: r["country"] == "NL" and r["nothing"] is None),
        ("visits = CAST(2.7 AS INTEGER)", lambda r: r["visits"] == 3),
        ("visits <= 1 + 1 AND score > -(1 / 4)", lambda r: r["visits"] <= 2 and r["score"] > -0.25),
        (
            "joined >= TIMESTAMP '2021-05-01 12:00:00' AND joined < DATE '2021-05-01' + INTERVAL 1 MONTH",
            lambda r: dt.date(2021, 5, 2) <= r["joined"] < dt.date(2021, 6, 1),
        ),
        ("joined > '2021-05-01 12:00:00'", lambda r: r["joined"] > dt.date(2021, 5, 1)),
        ("mixed.visits = 2 AND crm.mixed.active", lambda r: r["visits"] == 2 and r["active"]),
    ],
)
def test_every_row_satisfies_the_condition(model: TabDAR, where: str, holds: object) -> None:
    """Equalities, sets, ranges, dates, NULL, and all of them together."""
    rows = model.sample(300, seed=2, where=where, engine="torch", format="arrow").to_pylist()

    assert len(rows) == 300
    assert all(holds(row) for row in rows)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("level = 'never'", "'never' was never seen"),
        ("score BETWEEN 900 AND 950", "values lie between"),
        ("score > 1 AND score < 0", "leave nothing"),
        ("level = 'low' AND level = 'mid'", "no level satisfies"),
        ("score IS NULL", "never NULL"),
        ("rating IS NULL AND rating > 2", "contradict"),
        ("visits = 2.5", "leave nothing"),
        ("visits > 'many'", "must be of its type SMALLINT"),
        ("customer_id = 'K-00001'", "made anew"),
        ("scores > 1", "'scores' is none of"),
        ('level = "low"', "single quotes"),
        ("score > 1 OR visits > 1", "Instead of OR"),
        ("score + 1 > 2", "comparisons of columns"),
        ("score >", "must be SQL"),
        ("score > visits", "comparisons of columns"),
        ("1; DROP TABLE x", "must be SQL|comparisons"),
        ("(" * 200 + "score > 1" + ")" * 200, "nests deeper"),
        ("NOT " * 2000 + "active", "nests deeper"),
        ("", "must be SQL"),
        ("-- nothing", "must be SQL"),
        ("score > 'NaN'", "NaN has no place"),
        ("score < CAST('nan' AS DOUBLE)", "NaN has no place"),
        ("rating = NULL", "Say IS NULL"),
        ("rating IN (1, NULL)", "Say IS NULL"),
        ("other.visits = 2", "of another table"),
        ("NOT (level = 'low' AND visits = 2)", "OR joins must be of one column"),
        ("level IN ('never', 'no')", "'never' was never seen"),
        ("visits = 2.5", "table 'crm.mixed', column 'visits'.* such as 2 and 3"),
        ("joined > CAST('soon' AS DATE)", "table 'crm.mixed', column 'joined'.*'soon'|\"soon\""),
        ("joined LIKE '2021%'", "LIKE compares texts"),
        ("joined > current_date", "comparisons of columns"),
        ("visits > (SELECT 1)", "comparisons of columns"),
        ('visits > CAST(1 AS "INTEGRAL)) AS VARCHAR), (SELECT 1) --")', "comparisons of columns|must be SQL"),
        ("level = CAST('a' AS CHAR CHARACTER SET \"x)) --\")", "comparisons of columns|must be SQL"),
        ("visits > read_text('/etc/passwd')", "comparisons of columns"),
        ("country = 'DE'", "'DE' was never seen, but 'NL'"),
        ("country IS NULL", "never NULL"),
        ("nothing = 1", "never seen, but only NULL"),
        ("visits = 1e400", "no SMALLINT"),
    ],
)
def test_what_no_row_can_satisfy_is_refused_with_the_reason(model: TabDAR, where: str, says: str) -> None:
    """Before anything is drawn."""
    with pytest.raises(ConditionError, match=says):
        resolve(model.codec, model.schema, parse(where, model.schema))


def test_shares_are_met_exactly(model: TabDAR) -> None:
    """Counts by stratum, whatever the data have; a NULL can be a stratum."""
    balance = {"level": {"low": 0.5, "high": 0.25, "mid": 0.25}, "rating": {None: 1, "1": 3}}
    table = model.sample(1000, seed=1, balance=balance, engine="torch")

    assert table["level"].value_counts().to_dict() == {"low": 500, "high": 250, "mid": 250}
    assert table["rating"].isna().sum() == 250
    with pytest.raises(ConditionError, match="both"):
        model.sample(10, where="level = 'low'", balance=balance, engine="torch")


@pytest.mark.parametrize(
    ("balance", "says"),
    [
        ({"level": {"low": -1, "mid": 2}}, "shares"),
        ({"level": {"low": "1"}}, "shares"),
        ({"level": {"low": None}}, "shares"),
        ({"level": {"low": math.inf}}, "shares"),
        ({"level": {"low": math.nan}}, "shares"),
        ({"level": {"low": True}}, "shares"),
        ({"level": {"low": 0}}, "shares"),
        ({"level": {}}, "shares"),
        ({"level": ["low"]}, "shares"),
        ({"visits": {"2": 1, 2.0: 1}}, "there twice"),
        ({"visits": {2: 1}, "VISITS": {3: 1}}, "balanced twice"),
        ({"score": {math.nan: 1}}, "NaN"),
        ({"rating": {"null": 1}}, "no TINYINT"),
        ({"levels": {"low": 1}}, "'levels' is none of"),
    ],
)
def test_shares_that_mean_nothing_are_refused(
    model: TabDAR, balance: dict[str, dict[object, float]], says: str
) -> None:
    """And what is wrong is said."""
    with pytest.raises(ConditionError, match=says):
        resolve(model.codec, model.schema, balance=balance)


def test_shares_name_columns_and_values_as_conditions_do(model: TabDAR) -> None:
    """Whatever the case of a column, however a number is written, and however large the shares are."""
    shares = {
        "VISITS": {"2.0": 1e308, 3: 1e308},
        "Joined": {dt.datetime(2021, 1, 1): 1, dt.date(2021, 1, 2): 3},
    }
    conditions = resolve(model.codec, model.schema, balance=shares)

    assert [(it.column, it.value, it.rows) for it in conditions.strata(model.schema, 8)] == [
        ("visits", "2", 4),
        ("visits", "3", 4),
        ("joined", "2021-01-01", 2),
        ("joined", "2021-01-02", 6),
    ]


@pytest.mark.parametrize(
    "text",
    ["[1]", "{}", "", "{", '{"rating": 1}', '{"rating": [1]}', '{"rating": [[1, 1], [1, 2]]}', "[" * 9999],
)
def test_shares_that_are_no_shares_are_refused(text: str) -> None:
    """With what they should be like."""
    with pytest.raises(UsageError, match="--balance must be"):
        read_shares(text)


def test_given_rows_are_completed_and_kept(model: TabDAR) -> None:
    """What is known stays, columns that are missing are drawn, keys are made."""
    known = pa.table({"level": ["low", "high"], "score": [0.1, None]})
    table = model.sample(given=known, draws=3, seed=4, engine="torch", format="arrow")

    assert table["draw"].to_pylist() == [1, 1, 2, 2, 3, 3]
    assert table["level"].to_pylist() == ["low", "high"] * 3
    assert table["score"].to_pylist()[::2] == [0.1] * 3
    assert table["score"].null_count == 0
    assert len(set(table["customer_id"].to_pylist())) >= 2
    with pytest.raises(UsageError, match="'scores'"):
        model.sample(given=pa.table({"scores": [1.0]}))
    with pytest.raises(UsageError, match="rows, where or balance"):
        model.sample(5, given=known)
    with pytest.raises(UsageError, match="`draws`"):
        model.sample(5, draws=3)
    with pytest.raises(UsageError, match="at least 1"):
        model.sample(0)


def test_no_given_rows_are_none_completed(model: TabDAR) -> None:
    """In all columns and types, as imputing none is."""
    for known in (pa.table({"level": pa.array([], pa.string())}), pa.table({"score": pa.nulls(0)})):
        completed = model.sample(given=known, engine="torch", format="arrow")

        assert completed.num_rows == 0
        assert completed.schema == model.sample(1, engine="torch", format="arrow").schema


def test_given_rows_of_odd_types_are_read_as_the_tables_own(model: TabDAR) -> None:
    """Whole numbers in floats, categories of other codes, columns of nothing but NULL."""
    known = pa.table(
        {
            "visits": [2.0, 3.0],
            "level": pa.array(["low", "mid"])
            .dictionary_encode()
            .cast(pa.dictionary(pa.int8(), pa.large_string())),
            "rating": pa.nulls(2),
            "joined": ["2021-05-01", None],
        }
    )
    rows = model.sample(given=known, engine="torch", format="arrow").to_pylist()

    assert [(r["visits"], r["level"]) for r in rows] == [(2, "low"), (3, "mid")]
    assert rows[0]["joined"] == dt.date(2021, 5, 1)
    with pytest.raises(UsageError, match="Cast it"):
        model.sample(given=pa.table({"visits": [2.5]}), engine="torch")


@pytest.fixture(scope="module")
def learned() -> TabDAR:
    """A model of more rows of the same formula: that of what each column is given others is known."""
    return TabDAR.fit(mixed_table(3000), name="crm.mixed", epochs=10, seed=3)


@pytest.mark.parametrize("where", ["level = 'low'", "score > 1.5", "visits >= 5", "rating IS NULL"])
def test_a_condition_changes_what_it_should_and_nothing_else(learned: TabDAR, where: str) -> None:
    """Every column is as in fresh rows of the formula that satisfy the condition: what depends on it and what does not."""
    fresh = mixed_table(40_000, seed=77)
    truth = duckdb.sql(f"FROM fresh WHERE {where}").to_arrow_table()
    assert truth.num_rows < 0.6 * fresh.num_rows
    drawn = learned.sample(ROWS, seed=3, where=where, engine="torch", format="arrow")

    apart = {name: farthest(drawn[name], truth[name]) for name in truth.column_names if name not in MADE}
    assert len(apart) == 9
    assert {name: it for name, it in apart.items() if it > 0.09} == {}


MADE = ("customer_id", "note", "country", "nothing")  # columns that are not modelled


def farthest(these: pa.ChunkedArray, those: pa.ChunkedArray) -> float:
    """The largest distance between two distribution functions; NULL stands after all values."""
    texts = pa.types.is_string(these.type) or pa.types.is_dictionary(these.type)
    values = [
        np.array([str(v) for v in it.to_pylist()], object) if texts else numbers(it) for it in (these, those)
    ]
    places = np.unique(np.concatenate(values))
    below = [np.searchsorted(np.sort(it), places, side="right") / len(it) for it in values]
    return float(np.abs(below[0] - below[1]).max())


def numbers(values: pa.ChunkedArray) -> np.ndarray:
    whole = {32: pa.int32(), 64: pa.int64()}
    if pa.types.is_temporal(values.type):
        values = values.cast(whole[values.type.bit_width])
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    return values.cast(pa.float64()).fill_null(np.inf).to_numpy()


def test_the_command_line_draws_under_conditions(saved: Path, tmp_path: Path) -> None:
    """--where, --balance and --given; a refusal exits with 2 and writes nothing."""
    run, out = CliRunner(), tmp_path / "o.parquet"
    ask = ["sample", str(saved), str(out)]

    assert run.invoke(app, [*ask, "--rows", "50", "--where", "visits = 2"]).exit_code == 0
    assert set(pq.read_table(out)["visits"].to_pylist()) == {2}
    shares = json.dumps({"level": {"low": 1, "high": 1}})
    done = run.invoke(app, [*ask, "--rows", "50", "--balance", shares])
    assert done.exit_code == 0
    assert "level 'low': 25 rows\nlevel 'high': 25 rows" in done.output
    assert pq.read_table(out)["level"].to_pylist().count("low") == 25
    pq.write_table(pa.table({"level": ["mid"]}), tmp_path / "g.parquet")
    assert run.invoke(app, [*ask, "--given", str(tmp_path / "g.parquet"), "--draws", "4"]).exit_code == 0
    assert pq.read_table(out).num_rows == 4
    shares = json.dumps({"Rating": [[1, 1], [None, 3]]})
    done = run.invoke(app, [*ask, "--rows", "8", "--balance", shares, "--json"])
    strata = [{"column": "rating", "value": "1", "rows": 2}, {"column": "rating", "value": None, "rows": 6}]
    assert json.loads(done.stdout)["strata"] == strata
    assert pq.read_table(out)["rating"].null_count == 6
    out.unlink()
    for bad in (
        ["--rows", "5", "--where", "visits > 99999"],
        ["--rows", "5", "--where", ""],
        ["--rows", "5", "--balance", "[1]"],
        ["--rows", "5", "--draws", "3"],
        ["--rows", "5", "--given-table", "main.g"],
        ["--rows", "5", "--given", str(tmp_path / "g.parquet")],
        [],
    ):
        with pytest.raises(UsageError):
            run.invoke(app, [*ask, *bad], catch_exceptions=False)
        assert not out.exists()


def test_given_rows_come_from_files_and_databases_and_what_was_never_seen_is_said(
    saved: Path, tmp_path: Path
) -> None:
    """Also where there are none; a database needs the name of the table."""
    run, out, base = CliRunner(), tmp_path / "o.parquet", tmp_path / "g.duckdb"
    ask = ["sample", str(saved), str(out), "--given"]
    with duckdb.connect(str(base)) as connection:
        connection.execute(
            "CREATE TABLE g AS SELECT 'Atlantis' AS level, 9999 AS visits, NULL::INT AS rating"
        )
    (tmp_path / "none.csv").write_text("level,visits\n")
    pq.write_table(pa.table({"level": pa.array([], pa.string())}), tmp_path / "none.parquet")

    done = run.invoke(app, [*ask, str(base), "--given-table", "main.g", "--json"])
    assert json.loads(done.stdout)["unseen"] == {"level": 1, "visits": 1}
    done = run.invoke(app, [*ask, str(base), "--given-table", "main.g"])
    assert "never saw such values: level 1, visits 1" in done.output
    assert pq.read_table(out)["visits"].to_pylist() == [9999]
    with pytest.raises(UsageError, match="--given-table"):
        run.invoke(app, [*ask, str(base)], catch_exceptions=False)
    for none in ("none.csv", "none.parquet"):
        assert run.invoke(app, [*ask, str(tmp_path / none)]).exit_code == 0
        assert pq.read_table(out).num_rows == 0


class GaussEngine:
    """One column of one code whose residual is normal about `mean`; a second that follows the first."""

    offsets = np.array([0, 1, 2])
    continuous = np.array([True, True])
    reveal = "cached"
    workers = 1
    watch = Stopwatch()

    def memory(self, rows: int) -> AbstractContextManager[Memory]:
        return nullcontext(Memory(1, rows, 1, 2))

    def remember(self, memory: Memory, columns: np.ndarray, shown: np.ndarray, cells: Cells) -> None:
        values = np.zeros((2, len(shown), 1, 1, 2), np.float32)
        values[:, :, 0, 0, 0] = cells.values[:, columns[0]]
        memory.add(values, shown)

    def ask(self, memory: Memory, target: int) -> Condition:
        z = memory.arrays[0][:, 0, :1, 0]  # the first column's residual, or nothing yet
        return Condition(z, np.zeros((len(z), 1), np.float32))

    def residuals(self, z: np.ndarray, flat: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return (z[:, 0] + 0.5 * noise).astype(np.float32)


def drawn(limits: dict[int, Limit], rows: int = 20_000) -> np.ndarray:
    nothing = np.zeros((rows, 2), bool)
    draws = Draws.of(0, 0, 2, rows).beginning([0, 1])
    return complete(GaussEngine(), Cells.empty(rows, 2), nothing, ~nothing, draws, limits).cells.values


def part(*ends: tuple[float, float]) -> Limit:
    low, high = np.array(ends).T
    return Limit(np.zeros(len(ends), np.int64), low, high)


@settings(max_examples=20, deadline=None)
@given(st.floats(-1.2, 1.0), st.floats(0.05, 1.5))
def test_a_truncated_draw_has_the_truncated_distribution(low: float, width: float) -> None:
    """Mean and spread of a normal between two ends (Johnson, Kotz 1970)."""
    from scipy.stats import truncnorm

    x = drawn({0: part((low, low + width))}, 8000)[:, 0]
    truth = truncnorm(low / 0.5, (low + width) / 0.5, scale=0.5)

    assert x.min() >= low
    assert x.max() <= low + width
    assert abs(x.mean() - truth.mean()) < 0.03 * max(width, 0.3)
    assert abs(x.std() - truth.std()) < 0.03 * max(width, 0.3)


def test_several_intervals_have_their_weights() -> None:
    """Each part is as likely as its mass."""
    x = drawn({0: part((-np.inf, -0.5), (0.0, 0.5))})[:, 0]
    below, middle = normal.rank(np.array([-1.0]))[0], normal.rank(np.array([1.0]))[0] - 0.5

    assert abs((x < 0).mean() - below / (below + middle)) < 0.015


def test_limits_on_two_columns_weigh_the_first_by_the_second() -> None:
    """x ~ N(0, 1/4), y | x ~ N(x, 1/4): under y > 1 the mean of x is that of the joint distribution."""
    rows = 4000
    spare = Draws.of(0, 0, 2, SPARE * rows, stream=1)
    limits = {0: part((-9.0, np.inf)), 1: part((1.0, np.inf))}
    cells = resampled(GaussEngine(), Cells.empty(rows, 2), np.zeros((rows, 2), bool), limits, spare)
    hazard = math.exp(-1.0) / math.sqrt(2 * math.pi) / (1 - normal.rank(np.array([math.sqrt(2)]))[0])
    truth = 0.25 / math.sqrt(0.5) * hazard  # cov(x, y) / sd(y) * E[standard normal | > sqrt 2]

    assert abs(cells.values[:, 0].mean() - truth) < 0.06
    assert cells.values[:, 1].min() >= 1


def test_choice_is_within_a_group_and_by_weight() -> None:
    """A row stands only for rows that show the same."""
    group = np.repeat([0, 1], 100 * SPARE)
    evidence = np.where(np.arange(200 * SPARE) % 2 == 0, 0.0, -50.0).astype(np.float32)
    chosen = choose(evidence, group, np.full(200 * SPARE, 0.5, np.float32))

    assert len(chosen) == 200
    assert (group[chosen[:100]] == 0).all()
    assert (group[chosen[100:]] == 1).all()
    assert (chosen % 2 == 0).all()


def test_conditions_do_not_depend_on_the_block_beside(model: TabDAR) -> None:
    """The first rows of a longer table are those of a shorter one."""
    short, long = (
        model.sample(n, seed=5, where="score > 1 AND visits > 1", engine="torch") for n in (100, 1500)
    )

    assert short["visits"].tolist() == long["visits"].tolist()[:100]
    assert np.allclose(short["score"], long["score"][:100], atol=1e-4)


def test_conditions_hold_on_a_table_that_was_never_seen() -> None:
    """A model of another table, with other grids."""
    table = mixed_table(400, 9).select(["visits", "amount", "score", "joined"])
    model = TabDAR.fit(table, epochs=1)
    rows = model.sample(
        200, where="amount >= 10.5 AND visits < 3", engine="torch", format="arrow"
    ).to_pylist()

    assert all(r["amount"] >= 10.5 and r["visits"] < 3 for r in rows)
