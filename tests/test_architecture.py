"""The building keeps its plan: who imports whom, what loads when, how long a function may be."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tabdar_pipeline"
HEAVY = ("torch", "onnx", "onnxruntime", "great_expectations", "pandera", "sklearn", "scipy", "matplotlib")
LONGEST = 48  # lines of a function below its signature: a command's options are its signature
SOURCES = sorted(PACKAGE.rglob("*.py"))


def run_python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, from the project's root, as a user would."""
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)


def heavy_modules_after(statement: str) -> list[str]:
    """Which heavy libraries a statement leaves imported."""
    code = f"import sys; {statement}; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    return run_python(code).stdout.split()


def test_import_contracts_hold():
    """The layers and bans of pyproject.toml are kept."""
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_importing_the_package_is_quick():
    """`import tabdar_pipeline` takes less than 0.3 s and brings nothing heavy, nor dagster or pandas."""
    code = (
        "import sys, time; t = time.perf_counter(); import tabdar_pipeline; "
        "print(time.perf_counter() - t, 'dagster' in sys.modules, 'pandas' in sys.modules)"
    )
    seconds, *loaded = run_python(code).stdout.split()
    assert float(seconds) < 0.3
    assert loaded == ["False", "False"]
    assert heavy_modules_after("import tabdar_pipeline") == []


def test_the_command_line_starts_without_heavy_libraries():
    """Asking for help does not wait for torch, pandas, pyarrow or dagster."""
    code = (
        "import sys; import tabdar_pipeline.cli; "
        "print(*(m for m in ('pandas', 'pyarrow', 'dagster', 'duckdb') if m in sys.modules))"
    )
    assert run_python(code).stdout.split() == []
    assert heavy_modules_after("import tabdar_pipeline.cli") == []


def test_loading_the_definitions_leaves_heavy_libraries_out():
    """Dagster loads the code location for each process: it pays only for what a step uses."""
    assert heavy_modules_after("from tabdar_pipeline.definitions import defs; defs()") == []


def test_loading_the_definitions_costs_little_beyond_dagster():
    """Definitions load in less than 1.5 s of processor time once dagster is there."""
    code = (
        "import dagster, time; t = time.process_time(); "
        "from tabdar_pipeline.definitions import defs; defs(); print(time.process_time() - t)"
    )
    assert float(run_python(code).stdout) < 1.5


def test_sampling_needs_no_torch():
    """The ONNX sampler runs where torch is not installed."""
    code = "import sys; sys.modules['torch'] = None; from tabdar_pipeline.runtime import OnnxSampler"
    run_python(code)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_functions_are_short(path):
    """No function is longer than a screen."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    long = [
        f"{node.name}: {node.end_lineno - node.body[0].lineno + 1} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.body[0].lineno + 1 > LONGEST
    ]
    assert long == []


def test_files_are_named_by_nouns():
    """No drawer for odds and ends."""
    banned = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [p for p in SOURCES if p.stem in banned] == []


def test_nothing_is_unpickled():
    """No module reads pickles: a model directory cannot run code."""
    banned = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    found = [
        (path.name, name)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _imported(node)
        if name.split(".")[0] in banned
    ]
    assert found == []


def test_components_have_no_postponed_annotations():
    """Dagster and pydantic read annotations at run time where assets and components are defined."""
    rooms = [*PACKAGE.glob("assets/*.py"), *PACKAGE.glob("components/*.py"), PACKAGE / "definitions.py"]
    assert [p.name for p in rooms if "from __future__ import annotations" in p.read_text("utf-8")] == []


def test_the_public_names_are_there():
    """Every name in `__all__` can be imported."""
    run_python(f"import os; os.chdir({os.fspath(ROOT)!r}); from tabdar_pipeline import *")


def _imported(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []
