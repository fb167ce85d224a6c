"""Keys and texts: made anew, unique, in the same pattern, block by block the same."""

import datetime as dt
import decimal
import ipaddress
import json
import random
import re
import uuid

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabdar_pipeline.codec.counting import spacing
from tabdar_pipeline.codec.identifier import IdentifierCodec
from tabdar_pipeline.codec.sieve import Sieve
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
    assert not set(made.drop_null().to_pylist()) & set(real)


@pytest.mark.parametrize(
    "real",
    [
        [f"CUST-{i:06d}" for i in range(600)],
        [f"CUST-{i:06d}" for i in random.Random(0).sample(range(10**6), 3000)],
        [f"{i:04d}" for i in random.Random(0).sample(range(10**4), 900)],
        [f"ID-{i}" for i in range(1, 600)],
        [f"{random.Random(i).getrandbits(30):08X}" for i in range(600)],
    ],
    ids=["counted", "random", "dense", "number", "hex"],
)
def test_no_made_key_is_a_real_one(real: list[str]) -> None:
    """Of whatever pattern, as long as the real ones, and all different; as JSON has them, too."""
    fitted = IdentifierCodec.fit(pa.array(real))
    made = IdentifierCodec.from_json(json.loads(json.dumps(fitted.to_json()))).generate(
        0, 1000, 3, pa.string()
    )
    keys = made.to_pylist()

    assert len(set(keys)) == 1000
    assert not set(keys) & set(real)
    assert {re.sub(r"[0-9A-F]+$", "", key) for key in keys} <= {
        re.sub(r"[0-9A-F]+$", "", key) for key in real
    }
    assert max(map(len, keys)) <= max(map(len, real)) + 1


def test_a_crowded_pattern_is_not_divided() -> None:
    """Where all of it is taken there is nothing to keep clear of: keys go on with a suffix."""
    real = [f"{i:02d}" for i in range(100)]
    made = IdentifierCodec.fit(pa.array(real)).generate(0, 120, 0, pa.string()).to_pylist()

    assert len(set(made)) == 120


def test_bytes_are_as_long_as_the_real_ones() -> None:
    """Up to the longest, from the shortest."""
    real = pa.array([b"x" * (3 + i % 40) for i in range(200)])
    sizes = [len(cell) for cell in IdentifierCodec.fit(real).generate(0, 500, 0, pa.binary()).to_pylist()]
    fixed = pa.array([bytes([i] * 8) for i in range(50)], pa.binary(8))

    assert (min(sizes), max(sizes)) == (3, 42)
    assert IdentifierCodec.fit(fixed).generate(0, 9, 0, pa.binary(8)).type == pa.binary(8)


TEXTS = {
    "ip": (lambda r: ".".join(str(r.randrange(256)) for _ in range(4)), ipaddress.ip_address),
    "phone": (lambda r: f"+49 {r.randrange(150, 180)} {r.randrange(10**6, 10**7)}", r"\+49 1[5-7]\d \d{7}"),
    "mail": (
        lambda r: (
            f"{r.choice(['anna', 'bob', 'zoë'])}.{r.choice(['ray', 'lee'])}{r.randrange(9999)}@{r.choice(['a.org', 'b.de'])}"
        ),
        r"(anna|bob|zoë)\.(ray|lee)\d{1,4}@[ab]\.(org|de)",
    ),
    "json": (
        lambda r: json.dumps({"name": str(r.randrange(10**9)), "ok": r.random() < 0.5, "none": None}),
        lambda t: json.loads(t)["name"],
    ),
    "day": (
        lambda r: str(dt.date(2020, 1, 1) + dt.timedelta(r.randrange(9000))),
        r"20[0-4]\d-(0[1-9]|1[0-2])-([0-2]\d|3[01])",
    ),
    "hash": (lambda r: f"{r.getrandbits(128):032x}", r"[0-9a-f]{32}"),
    "code": (lambda r: f"LOT{r.randrange(10**5):05d}", r"LOT\d{5}"),
    "emoji": (lambda r: f"{r.choice('😀🎉')} {r.randrange(10**6)}", r"[😀🎉] \d{1,6}"),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_texts_are_of_the_form_of_the_real_ones_and_none_of_them(kind: str) -> None:
    """What many rows share stays; numbers stay in the range of the real ones."""
    make, form = TEXTS[kind]
    rng = random.Random(1)
    real = [make(rng) for _ in range(1500)]
    made = TextCodec.fit(pa.array(real)).generate(0, 400, 0, pa.string()).to_pylist()

    assert not set(made) & set(real)
    assert len(set(made)) > 300
    for text in made:
        assert re.fullmatch(form, text) if isinstance(form, str) else form(text) is not None


def test_a_word_that_few_rows_share_does_not_come_back() -> None:
    """Four rows of a name do not make it common."""
    real = [f"Dear {'Mephistopheles' if i < 4 else 'Sir'} {i * 7919 % 100_003}" for i in range(400)]
    made = TextCodec.fit(pa.array(real)).generate(0, 2000, 0, pa.string()).to_pylist()

    assert not any("Mephistopheles" in text for text in made)
    assert 0.97 < sum("Sir" in text for text in made) / 2000 < 1


@given(st.lists(st.text(max_size=6), min_size=1, max_size=30, unique=True))
def test_the_sieve_lets_no_text_of_the_column_pass(texts: list[str]) -> None:
    """And of others about every second one."""
    sieve = Sieve.from_json(json.loads(json.dumps(Sieve.of(texts).to_json())))

    assert not any(sieve.passes(text) for text in texts)


@given(st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=12), min_size=1, max_size=30))
def test_any_texts_can_be_made_anew(texts: list[str | None]) -> None:
    """Whatever their script and signs."""
    column = pa.array([*texts, "x"])
    codec = TextCodec.fit(column)

    assert codec.generate(0, 20, 0, pa.string()).type == pa.string()
    assert TextCodec.from_json(json.loads(json.dumps(codec.to_json()))) == codec


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
