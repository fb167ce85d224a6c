"""Long samples: in parts that survive a crash, in row groups that readers like, at a chosen quality."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from tabdar_pipeline.cli import app
from tabdar_pipeline.runtime import OnnxSampler, Sampler
from tabdar_pipeline.sampling.draws import BLOCK_ROWS
from tabdar_pipeline.synthesizer import TabDAR

ROWS = 5 * BLOCK_ROWS - 100


def sample(saved: Path, out: Path) -> dict[str, Any]:
    return dict(json.loads(run(saved, out).stdout))


def run(saved: Path, out: Path) -> Result:
    command = ["sample", saved, out, "--rows", ROWS, "--seed", 4, "--json"]
    return CliRunner().invoke(app, [str(word) for word in command], catch_exceptions=False)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of two blocks."""
    monkeypatch.setattr("tabdar_pipeline.parts.PART_BLOCKS", 2)
    monkeypatch.setattr("tabdar_pipeline.parts.PART_ROWS", 2 * BLOCK_ROWS)


@pytest.mark.usefixtures("small_parts")
def test_a_sample_goes_on_where_it_was_cut_off(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of whole parts are not drawn again, and the table is the one of an uninterrupted run."""
    drawn, draw = list[int](), Sampler.sample_batches

    def noted(self: Sampler, rows: int, *, blocks: range, **settings: Any) -> Iterator[pa.RecordBatch]:
        for block, batch in zip(blocks, draw(self, rows, blocks=blocks, **settings), strict=True):
            if crash and block == 3:
                raise KeyboardInterrupt
            drawn.append(block)
            yield batch

    monkeypatch.setattr(Sampler, "sample_batches", noted)
    out, crash = tmp_path / "out.parquet", True
    assert run(saved, out).exit_code != 0
    assert not out.exists()
    crash = False
    sample(saved, out)

    assert drawn == [0, 1, 2, 2, 3, 4]
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    monkeypatch.undo()
    sample(saved, tmp_path / "whole.parquet")
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "whole.parquet"))


@pytest.mark.usefixtures("small_parts")
def test_parts_of_another_job_are_not_taken(saved: Path, tmp_path: Path) -> None:
    """Another seed begins anew."""
    folder = tmp_path / ".out.parquet.parts"
    folder.mkdir()
    (folder / "job.json").write_text("{}")
    (folder / "00000.parquet").write_text("not these rows")

    assert sample(saved, tmp_path / "out.parquet")["rows"] == ROWS
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == ROWS


def test_row_groups_are_whole_blocks(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one for every block, and the last one as long as it is."""
    monkeypatch.setattr("tabdar_pipeline.output.ROW_GROUP", 2 * BLOCK_ROWS)
    sample(saved, tmp_path / "out.parquet")
    about = pq.read_metadata(tmp_path / "out.parquet")
    sizes = [about.row_group(i).num_rows for i in range(about.num_row_groups)]

    assert sizes == [2 * BLOCK_ROWS, 2 * BLOCK_ROWS, BLOCK_ROWS - 100]


def test_a_profile_says_where_the_time_went(saved: Path, tmp_path: Path) -> None:
    """Every part of the work, in seconds."""
    facts = sample(saved, tmp_path / "out.parquet")
    assert {"loading", "revealing", "asking", "solving", "decoding", "writing"} == set(facts["profile"])
    assert all(seconds > 0 for seconds in facts["profile"].values())

    words = ["sample", str(saved), str(tmp_path / "out.parquet"), "--rows", "10", "--profile"]
    said = CliRunner().invoke(app, words, catch_exceptions=False).stdout
    assert "s revealing" in said


def test_a_finer_solver_changes_numbers_and_little(model: TabDAR, saved: Path) -> None:
    """Categories are drawn the same way; a dense number moves by a small part of its spread."""
    tables = {
        quality: pa.Table.from_batches(OnnxSampler.load(saved, quality=quality).sample_batches(500))
        for quality in ("exact", "balanced", "fast")
    }
    exact = tables["exact"]["score"].to_numpy()
    moved = {q: abs(t["score"].to_numpy() - exact).mean() / exact.std() for q, t in tables.items()}

    assert 0 < moved["balanced"] < 0.05
    assert 0 < moved["fast"] < 0.5
    torch = model.sample(500, quality="fast", engine="torch", format="arrow")
    assert abs(torch["score"].to_numpy() - tables["fast"]["score"].to_numpy()).max() < 1e-2
