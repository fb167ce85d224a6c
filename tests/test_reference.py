"""Foreign keys: the counts of the source, block by block the same, and no real value."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabdar_pipeline.codec.reference import SHARED, ReferenceCodec
from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.schemas.columns import Kind
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.schemas.infer import infer_schema

COUNTS = {1: 40, 2: 30, 5: 20, 9: 10}  # rows that share a value: how many values have so many
ROWS = sum(rows * values for rows, values in COUNTS.items())


def column(nulls: int = 0) -> pa.Array:
    counts = np.repeat([*COUNTS], [*COUNTS.values()])
    values = [f"C{i:04d}" for i, rows in enumerate(counts) for _ in range(rows)]
    return pa.array([*values, *[None] * nulls])


def shared(made: pa.Array) -> Counter[int]:
    return Counter(pc.value_counts(made.drop_null()).field("counts").to_pylist())


def test_as_many_rows_share_a_value_as_in_the_source() -> None:
    made = ReferenceCodec.fit(column()).generate(0, ROWS, 3, pa.string())

    assert shared(made) == COUNTS
    assert shared(ReferenceCodec.fit(column()).generate(0, 3 * ROWS, 3, pa.string())) == {
        rows: 3 * values for rows, values in COUNTS.items()
    }


def test_fewer_rows_have_fewer_values_of_as_many_rows() -> None:
    made = ReferenceCodec.fit(column()).generate(0, ROWS // 2, 3, pa.string())

    assert 40 <= len(pc.unique(made)) <= 60


def test_rows_that_refer_to_nothing_are_as_many() -> None:
    made = ReferenceCodec.fit(column(nulls=50)).generate(0, ROWS + 50, 3, pa.string())

    assert made.null_count == 50
    assert shared(made) == COUNTS


@given(st.integers(0, 4 * ROWS), st.integers(1, 2 * ROWS), st.integers(0, 2**32 - 1))
def test_a_cell_is_a_function_of_its_row_and_the_seed(start: int, rows: int, seed: int) -> None:
    codec = ReferenceCodec.fit(column(nulls=7))
    whole = codec.generate(0, start + rows, seed, pa.string())

    assert codec.generate(start, rows, seed, pa.string()).equals(whole.slice(start))


def test_no_rows_are_an_empty_column() -> None:
    assert ReferenceCodec.fit(column()).generate(5, 0, 3, pa.string()).equals(pa.array([], pa.string()))


def test_no_count_is_learned_that_gives_a_value_away() -> None:
    """One value of 700 rows among many of one: the pool has its mean."""
    values = pa.array([*range(100), *[1000] * 700])
    codec = ReferenceCodec.fit(values)

    assert codec.rows == (8,)
    assert codec.values == (101,)
    assert min(ReferenceCodec.fit(column()).values) >= SHARED


def test_what_was_learned_comes_back_from_json() -> None:
    codec = ReferenceCodec.fit(column(nulls=3))

    assert ReferenceCodec.from_json(json.loads(json.dumps(codec.to_json()))) == codec


def test_a_contract_says_what_a_foreign_key_references() -> None:
    table = pa.table({"customer_id": column(), "x": [i % 7 for i in range(ROWS)]})
    schema = infer_schema(table, "crm.orders", references={"customer_id": "crm.customers.id"})
    contract = Contract.infer(table, schema)

    assert schema["customer_id"].kind is Kind.FOREIGN_KEY
    assert Contract.from_yaml(contract.to_yaml()) == contract
    assert not contract.validate(table)
    text = contract.to_yaml()
    for wrong in (
        text.replace("foreign_key\n", "text\n"),
        text.replace("    references: crm.customers.id\n", ""),
    ):
        with pytest.raises(UsageError, match="'customer_id': a foreign_key, and no other kind, must say"):
            Contract.from_yaml(wrong)
