"""Encoded rows: small, and large ones on disk."""

from functools import partial

import numpy as np
import pytest
from conftest import mixed_table

from tabdar_pipeline.codec import encoded, table
from tabdar_pipeline.codec.encoded import room
from tabdar_pipeline.codec.number import NumberSettings
from tabdar_pipeline.codec.table import TableCodec
from tabdar_pipeline.schemas.infer import infer_schema


def test_a_large_array_is_no_memory_and_leaves_no_file(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is mapped from a file that has no name."""
    folder = tmp_path_factory.mktemp("room")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    large = room((1000, 3), np.float32, most=1000)
    large[:] = 1

    assert isinstance(large, np.memmap)
    assert large.sum() == 3000
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The array is in memory then."""

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    found = room((1000, 3), np.float32, most=1000)

    assert not isinstance(found, np.memmap)
    assert found.shape == (1000, 3)


def test_pieces_and_files_encode_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows are encoded at once, and wherever they lie, the same seed gives the same cells."""
    rows = mixed_table(500)
    schema = infer_schema(rows, "mixed")
    codec = TableCodec.fit(rows, schema, NumberSettings())
    once = codec.encode(rows, schema, np.random.default_rng(0))
    monkeypatch.setattr(table, "PIECE", 7)
    monkeypatch.setattr(encoded, "room", partial(room, most=0))
    pieces = codec.encode(rows, schema, np.random.default_rng(0))
    order = np.random.default_rng(1).permutation(len(once))

    for name in ("codes", "values", "known"):
        assert np.array_equal(getattr(once, name), getattr(pieces, name))
        assert np.array_equal(getattr(once.take(order), name), getattr(pieces, name)[order])
