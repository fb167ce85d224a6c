"""A model directory, carried to an environment that has the `cpu` extra and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter where `pip install tabdar-pipeline[cpu]` was all that happened."""
    home = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", home], check=True, timeout=120)
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile")
    what = ("--constraint", str(ROOT / "constraints.txt"), f"{ROOT}[cpu]")
    subprocess.run([home / "bin" / "python", *install, *what], check=True, timeout=400)
    return home / "bin" / "python"


def test_a_model_samples_and_imputes_without_torch(
    python: Path, saved: Path, table: pa.Table, tmp_path: Path
) -> None:
    """torch is not there; rows are drawn, and missing cells filled, by one command each."""
    source, drawn, filled = (tmp_path / f"{name}.parquet" for name in ("source", "drawn", "filled"))
    pq.write_table(table.slice(0, 50), source)

    def bare(*arguments: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.run(
            [python, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            env=clean,
        )

    packages = json.loads(bare("-m", "pip", "list", "--format", "json").stdout)
    assert not {"torch", "dagster", "scikit-learn", "pandera"} & {p["name"] for p in packages}
    for command in (
        ("sample", str(saved), str(drawn), "--rows", "100"),
        ("impute", str(saved), str(source), str(filled)),
    ):
        told = bare("-m", "tabdar_pipeline", *command)
        assert told.returncode == 0, told.stderr
    assert pq.read_table(drawn).num_rows == 100
    assert pq.read_table(filled).num_rows == 50
    assert pq.read_table(filled).column_names == table.column_names
