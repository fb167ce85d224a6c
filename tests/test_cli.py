"""The command line: what it writes, what it refuses, how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tabdar_pipeline import cli
from tabdar_pipeline.cli import fitting
from tabdar_pipeline.errors import TabdarError

TABDAR = Path(sys.executable).with_name("tabdar")


def people(rows: int = 400, seed: int = 0) -> pa.Table:
    """A small table of whole numbers, money, categories, booleans and holes."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, rows)
    spend = np.round(rng.gamma(2.0, age / 10.0), 2)
    return pa.table(
        {
            "age": pa.array(age, pa.int32()),
            "spend": pa.array(spend, mask=rng.random(rows) < 0.1),
            "plan": pa.array(np.where(age > 50, "gold", "free")),
            "active": pa.array(rng.random(rows) < 0.7),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a source, split in two, as files and as a table with a primary key."""
    folder = tmp_path_factory.mktemp("cli")
    pq.write_table(people(), folder / "train.parquet")
    pq.write_table(people(200, seed=1), folder / "holdout.parquet")
    with duckdb.connect(folder / "crm.duckdb") as connection:
        connection.execute("CREATE TABLE people (age INTEGER PRIMARY KEY, level INTEGER)")
        connection.execute("INSERT INTO people SELECT i, i % 3 FROM range(40) r(i)")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    """A model that two epochs on one thread have made: more threads wait for each other on busy cores."""
    words = ["--epochs", 2, "--device", "cpu", "--threads", 1, "--json"]
    result = tabdar("fit", folder / "train.parquet", folder / "model", *words)
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["rows"] == 400
    assert facts["parity"] < 1e-3
    return folder / "model"


def tabdar(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command, as a shell would."""
    return subprocess.run(
        [TABDAR, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment(),
    )


def environment() -> dict[str, str]:
    """One thread, and a terminal wide enough that no message is folded."""
    return os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def refused(*words: object) -> str:
    """The message of a call in this process that is refused with a TabdarError."""
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert isinstance(result.exception, TabdarError), result.output
    return f"{result.exception.exit_code} {result.exception}"


def test_help_names_every_command():
    """`tabdar --help` lists the commands of the whole job."""
    shown = CliRunner().invoke(cli.app, ["--help"]).output
    for name in ("demo", "fit", "sample", "impute", "evaluate", "export", "contract", "release"):
        assert name in shown


def test_no_command_is_a_usage_error():
    """Wrong usage ends with 2."""
    assert tabdar("fit").returncode == 2
    assert tabdar("nonsense").returncode == 2


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_samples_are_files_of_the_source_s_columns(model, folder, suffix):
    """OUT has the rows asked for; parquet has the source's types as well; nothing else is left."""
    out = folder / f"drawn{suffix}"
    result = tabdar("sample", model, out, "--rows", 300, "--seed", 3, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["rows"] == 300
    drawn = pq.read_table(out) if suffix == ".parquet" else pyarrow.csv.read_csv(out)
    assert drawn.num_rows == 300
    assert drawn.column_names == people().column_names
    if suffix == ".parquet":
        assert drawn.schema.types == people().schema.types
    assert not list(folder.glob("*.partial"))


def test_the_same_seed_draws_the_same_rows(model, folder):
    """A sample is a function of model and seed."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert (
            tabdar("sample", model, folder / f"{name}.parquet", "--rows", 50, "--seed", seed).returncode == 0
        )
    a, b, c = (pq.read_table(folder / f"{name}.parquet") for name in "abc")
    assert a == b
    assert a != c


def test_both_engines_draw_from_the_same_model(model, folder):
    """`--engine torch` gives the categories that ONNX gives."""
    for engine in ("onnx", "torch"):
        out = folder / f"{engine}.parquet"
        assert tabdar("sample", model, out, "--rows", 200, "--engine", engine).returncode == 0
    onnx, torch = (pq.read_table(folder / f"{engine}.parquet") for engine in ("onnx", "torch"))
    same = np.asarray(onnx["plan"].to_pylist()) == np.asarray(torch["plan"].to_pylist())
    assert same.mean() > 0.99


def test_sampling_runs_where_torch_is_not_installed(model, folder):
    """A model directory can be carried to a machine without torch."""
    code = (
        "import sys; sys.modules['torch'] = None; from tabdar_pipeline.cli import app; "
        f"app(['sample', {str(model)!r}, {str(folder / 'bare.parquet')!r}, '--rows', '20'])"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment())
    assert pq.read_metadata(folder / "bare.parquet").num_rows == 20


def test_samples_go_into_a_database_beside_other_tables(model, folder, tmp_path):
    """A table that tabdar wrote is replaced; another's is not touched."""
    database = tmp_path / "w.duckdb"
    assert "1" in tabdar("sample", model, database, "--rows", 10, "--table", "made.people").stdout
    assert tabdar("sample", model, database, "--rows", 20, "--table", "made.people").returncode == 0
    with duckdb.connect(database) as connection:
        connection.execute("CREATE TABLE main.real AS SELECT 1 AS x")
        assert connection.sql("SELECT count(*) FROM made.people").fetchall() == [(20,)]
    message = refused("sample", model, database, "--rows", 10, "--table", "main.real")
    assert message.startswith("2 ")
    assert "'main.real'" in message
    with duckdb.connect(database, read_only=True) as connection:
        assert connection.sql("FROM main.real").fetchall() == [(1,)]


def test_a_database_is_learned_with_its_keys(folder):
    """The primary key of a source is a key to the model: made anew, never modelled."""
    it = fitting.learnable(folder / "crm.duckdb", "main.people", None)
    assert it.rows.num_rows == 40
    assert [column.kind for column in it.schema.columns] == ["key", "number"]


def test_missing_cells_are_filled_and_others_kept(model, folder):
    """Imputing changes only what was missing."""
    out = folder / "filled.parquet"
    result = tabdar("impute", model, folder / "holdout.parquet", out, "--json")
    assert result.returncode == 0, result.stderr
    before, after = people(200, seed=1), pq.read_table(out)
    assert json.loads(result.stdout)["cells"] == before["spend"].null_count
    assert after["spend"].null_count == 0
    for name in ("age", "plan", "active"):
        assert after[name] == before[name]
    known = np.asarray(before["spend"].is_valid())
    assert np.array_equal(after["spend"].to_numpy()[known], before["spend"].to_numpy()[known])


def test_intervals_lie_beside_the_filled_table(model, folder):
    """Of filled numbers only, around their median; rows without a key are numbered; extra columns are kept."""
    source, out = folder / "more.parquet", folder / "ranged.parquet"
    rows = people(200, seed=1).add_column(0, "extra", pa.array(range(200)))
    pq.write_table(rows, source)
    words = ["impute", str(model), str(source), str(out), "--point", "median", "--intervals", "0.9"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0, result.output
    filled, ends = pq.read_table(out), pq.read_table(folder / "ranged__intervals.parquet")
    gone = rows["spend"].is_null()
    low, middle, high = (it.filter(gone) for it in (ends["spend__low"], filled["spend"], ends["spend__high"]))

    assert filled.column_names == rows.column_names
    assert filled["extra"].equals(rows["extra"])
    assert ends["row"].to_pylist() == list(range(1, 201))
    assert ends["spend__low"].null_count == ends["age__low"].null_count - gone.to_pylist().count(True)
    assert all(
        a <= b <= c and a < c
        for a, b, c in zip(*map(pa.ChunkedArray.to_pylist, (low, middle, high)), strict=True)
    )


def test_cells_that_stay_missing_are_said(model, folder):
    """By column, where others were asked for."""
    words = ["impute", str(model), str(folder / "holdout.parquet"), str(folder / "o.parquet"), "--columns"]
    assert "still missing: spend" in CliRunner().invoke(cli.app, [*words, "age"]).output
    assert "must be named" in refused(*words, "")
    assert "'spent'" in refused(*words, "spent")


def test_what_the_model_never_saw_is_said(model, folder):
    """It is kept, and no evidence."""
    strange, out = folder / "strange.parquet", folder / "kept.parquet"
    rows = people(200, seed=1)
    pq.write_table(rows.set_column(rows.column_names.index("plan"), "plan", pa.array(["new"] * 200)), strange)
    result = CliRunner().invoke(cli.app, ["impute", str(model), str(strange), str(out)])
    assert result.exit_code == 0, result.output
    assert "plan 200" in result.output
    assert set(pq.read_table(out)["plan"].to_pylist()) == {"new"}


def test_figures_stand_beside_their_floor(model, folder):
    """`evaluate` prints figures, and writes the report and JSON where asked."""
    out, html, figures = folder / "e.parquet", folder / "report.html", folder / "figures.json"
    assert tabdar("sample", model, out, "--rows", 200).returncode == 0
    words = ["evaluate", folder / "train.parquet", folder / "holdout.parquet", out, "--target", "plan"]
    result = tabdar(*words, "--html", html, "--json", figures)
    assert result.returncode == 0, result.stderr
    assert "floor" in result.stdout
    assert {"shape_error", "utility"} <= set(json.loads(figures.read_text())["values"])
    page = html.read_text()
    assert "<html" in page
    assert not re.search(r"(src|href)=[\"']https?://", page)


def test_export_states_the_parity(model, monkeypatch):
    """`export` says how near the graphs are to torch; `fit` has run the true one."""
    from tabdar_pipeline.model.onnx import ExportRecord
    from tabdar_pipeline.synthesizer import TabDAR

    record = ExportRecord(model, ("backbone.onnx",), 1e-6, 18, 1_000_000)
    monkeypatch.setattr(TabDAR, "export", lambda self: record)
    result = CliRunner().invoke(cli.app, ["export", str(model), "--json"])
    facts = json.loads(result.stdout)
    assert facts["parity"] == 1e-6
    assert facts["folder"] == str(model)


def test_a_contract_is_proposed_and_kept(folder, tmp_path):
    """A proposed contract accepts its table, and refuses one that breaks it before any training."""
    contract = tmp_path / "people.yaml"
    words = ["contract", str(folder / "train.parquet"), "--out", str(contract)]
    assert CliRunner().invoke(cli.app, words).exit_code == 0
    broken = people().set_column(0, "age", pa.array([999] * 400, pa.int32()))
    pq.write_table(broken, tmp_path / "broken.parquet")
    message = refused("fit", tmp_path / "broken.parquet", tmp_path / "m", "--contract", contract)
    assert message.startswith("1 ")
    assert "'age'" in message
    assert "400" in message
    assert not (tmp_path / "m").exists()


def test_releases_of_an_empty_warehouse_are_none(tmp_path):
    """`release list --json` is one JSON object even where nothing was ever published."""
    duckdb.connect(tmp_path / "w.duckdb").close()
    result = CliRunner().invoke(cli.app, ["release", "list", str(tmp_path / "w.duckdb"), "--json"])
    assert json.loads(result.stdout) == {"releases": []}


REFUSALS = {
    "no such source": (("fit", "nowhere.parquet", "m"), 1, "nowhere.parquet"),
    "unknown kind of source": (("fit", "train.xlsx", "m"), 2, "train.xlsx"),
    "two budgets": (("fit", "train.parquet", "m", "--seconds", 1, "--epochs", 1), 2, "budget"),
    "no budget at all": (("fit", "train.parquet", "m", "--seconds", 0), 2, "seconds"),
    "a folder of other files": (("fit", "train.parquet", "."), 2, "model directory"),
    "a table of a file": (("fit", "train.parquet", "m", "--table", "a.b"), 2, "a.b"),
    "no model": (("sample", "nowhere", "o.parquet", "--rows", 5), 1, "nowhere"),
    "unknown kind of OUT": (("sample", "model", "o.xlsx", "--rows", 5), 2, "o.xlsx"),
    "no folder for OUT": (("sample", "model", "no/o.csv", "--rows", 5), 2, "'no'"),
    "a database without a table": (("sample", "model", "o.duckdb", "--rows", 5), 2, "--table"),
    "OUT is the source": (("impute", "model", "train.parquet", "train.parquet"), 2, "train.parquet"),
    "unknown target": (
        ("evaluate", "train.parquet", "holdout.parquet", "holdout.parquet", "--target", "nothing"),
        2,
        "nothing",
    ),
    "no folder for the report": (
        ("evaluate", "train.parquet", "holdout.parquet", "holdout.parquet", "--html", "no/r.html"),
        2,
        "'no'",
    ),
    "no such warehouse": (("release", "list", "w.duckdb"), 1, "w.duckdb"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_input_is_refused_and_nothing_is_written(model, folder, monkeypatch, case):
    """Each refusal names what is wrong, has its exit code, and leaves no file behind."""
    words, code, name = REFUSALS[case]
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    message = refused(*words)
    assert message.startswith(f"{code} ")
    assert name in message
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (people().slice(0, 0), "0"),
        (people().slice(0, 1), "row"),
        (pa.table({"x": [[1], [2]]}), "x"),
    ],
)
def test_tables_that_cannot_be_learned_are_refused(tmp_path, table, reason):
    """No rows, one row, a list: said before any work."""
    pq.write_table(table, tmp_path / "t.parquet")
    message = refused("fit", tmp_path / "t.parquet", tmp_path / "m")
    assert message.startswith("1 ")
    assert reason in message
    assert not (tmp_path / "m").exists()


def test_errors_are_one_message_without_a_traceback(folder):
    """A person reads a sentence; a script reads the exit code."""
    result = tabdar("fit", folder / "nowhere.parquet", folder / "m")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_an_altered_model_is_refused(model, tmp_path):
    """Weights that are not those of the manifest are not sampled from."""
    import shutil

    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    with (copy / "weights.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    message = refused("sample", copy, tmp_path / "o.parquet", "--rows", 5)
    assert "weights.safetensors" in message
    assert not (tmp_path / "o.parquet").exists()


def test_an_interrupted_fit_writes_no_model_and_says_so(folder, tmp_path):
    """^C ends with 130, a sentence and no model directory."""
    words = [
        "fit",
        folder / "train.parquet",
        tmp_path / "m",
        "--seconds",
        "60",
        "--device",
        "cpu",
        "--threads",
        "1",
    ]
    process = subprocess.Popen(
        [TABDAR, *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
        # a shell's background job ignores ^C, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    time.sleep(8)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not (tmp_path / "m").exists()
