"""Keys and texts: made anew, unique, in the same pattern, block by block the same."""

import datetime as dt
import decimal
import json
import re
import uuid

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabdar_pipeline.codec.counting import spacing
from tabdar_pipeline.codec.identifier import IdentifierCodec
from tabdar_pipeline.codec.text import TextCodec
from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.synthesizer import TabDAR

KEYS = pa.array([f"C-{i:06d}" for i in range(500)])


@given(st.integers(0, 2000), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_a_block_is_the_same_whoever_makes_it(start: int, rows: int, seed: int) -> None:
    """Rows start..start+rows are a function of their numbers and the seed."""
    codec = IdentifierCodec.fit(KEYS)
    whole = codec.generate(0, start + rows, seed, pa.string())

    assert codec.generate(start, rows, seed, pa.string()).equals(whole.slice(start))


def test_keys_are_unique_and_of_one_pattern() -> None:
    """C-000123 gives C-######, every one once."""
    made = IdentifierCodec.fit(KEYS).generate(0, 20_000, 5, pa.string()).to_pylist()

    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"C-\d{6}", key) for key in made)


def test_a_full_pattern_goes_on_with_a_suffix() -> None:
    """More rows than the pattern has room for stay unique."""
    codec = IdentifierCodec.fit(pa.array([f"k{i}x{i}" for i in range(10)]))
    made = codec.generate(0, 35, 1, pa.string()).to_pylist()

    assert len(set(made)) == 35


def test_integers_count_on_beyond_the_real_ones() -> None:
    """No made-up key is a real one."""
    made = IdentifierCodec.fit(pa.array(range(100, 200))).generate(0, 50, 0, pa.int64())

    assert made.to_pylist() == list(range(200, 250))


def test_integers_turn_below_the_real_ones_where_their_type_ends() -> None:
    """A TINYINT key of 0 to 99 has 28 numbers above and 128 below."""
    codec = IdentifierCodec.fit(pa.array(range(100), pa.int8()))
    made = codec.generate(0, 156, 0, pa.int8()).to_pylist()

    assert made == [*range(100, 128), *range(-1, -129, -1)]
    assert codec.room(pa.int8()) == 156


def test_more_keys_than_a_type_has_are_refused() -> None:
    """By name, before any row is drawn."""
    table = pa.table({"key_id": pa.array(range(100), pa.uint8()), "a": [0, 1] * 50})
    model = TabDAR.fit(table, epochs=1)

    assert len(set(model.sample(156, engine="torch")["key_id"]) | set(range(100))) == 256
    with pytest.raises(UsageError, match=r"'key_id'.*UTINYINT has no room for 157 keys"):
        model.sample(157, engine="torch")


def test_uuids_are_uuids() -> None:
    """Version 4, and none of the source's."""
    real = [str(uuid.uuid4()) for _ in range(50)]
    codec = IdentifierCodec.fit(pa.array(real))
    made = codec.generate(0, 50, 0, pa.string()).to_pylist()

    assert not set(made) & set(real)
    assert {uuid.UUID(key).version for key in made} == {4}


def test_texts_keep_their_patterns_but_not_their_words() -> None:
    """Letters stay letters, digits digits, spaces where they were; missing cells stay as frequent."""
    real = ["call 1234 back", None, "pay 99"] * 40
    codec = TextCodec.fit(pa.array(real))
    made = codec.generate(0, 3000, 0, pa.string())

    assert 0.28 < made.null_count / 3000 < 0.39
    assert all(
        re.fullmatch(r"[a-z]{4} \d{4} [a-z]{4}|[a-z]{3} \d\d", text) for text in made.drop_null().to_pylist()
    )
    assert TextCodec.from_json(json.loads(json.dumps(codec.to_json()))) == codec
    assert not set(made.to_pylist()) & set(real[::2])


@pytest.mark.parametrize(
    "real",
    [
        pa.array([decimal.Decimal(i) for i in range(1, 40)], pa.decimal128(38, 0)),
        pa.array([decimal.Decimal(i) / 4 for i in range(1, 40)], pa.decimal128(5, 2)),
        pa.array([dt.date(2024, 1, 1) + dt.timedelta(7 * i) for i in range(39)]),
        pa.array([dt.datetime(2024, 1, 1) + dt.timedelta(hours=i) for i in range(39)]),
        pa.array([dt.time(i // 2, 30 * (i % 2)) for i in range(39)]),
        pa.array([float(i) for i in range(39)]),
        pa.array(range(39), pa.uint64()),
    ],
    ids=lambda it: str(it.type),
)
def test_a_key_of_any_type_that_counts_goes_on_in_its_own_steps(real: pa.Array) -> None:
    """Unique, of the same type, none of them real, as far apart as the real ones; as JSON has them, too."""
    codec = IdentifierCodec.fit(real)
    again = IdentifierCodec.from_json(json.loads(json.dumps(codec.to_json())))
    made = again.generate(0, 9, 0, real.type)

    assert made.type == real.type
    assert len(pc.unique(made)) == 9
    assert not set(made.to_pylist()) & set(real.to_pylist())
    whole = pa.concat_arrays([real, made])
    assert spacing(whole) == spacing(real)
