"""What a table is and must satisfy: kinds with reasons, contracts that round-trip, suites."""

import numpy as np
import pyarrow as pa
import pytest
from conftest import mixed_table
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tabdar_pipeline.errors import ContractViolation, SourceError, UsageError
from tabdar_pipeline.schemas.columns import Kind
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.schemas.suite import Limit, run_suite
from tabdar_pipeline.schemas.types import arrow_type, sql_type


def contract(table: pa.Table) -> Contract:
    return Contract.infer(table, infer_schema(table, "crm.mixed"))


def test_kinds_are_inferred_with_a_reason(table: pa.Table) -> None:
    """One of each."""
    schema = infer_schema(table, "crm.mixed")
    kinds = {c.name: c.kind for c in schema.columns}

    assert kinds["customer_id"] is Kind.KEY
    assert kinds["level"] is kinds["active"] is Kind.CATEGORY
    assert kinds["visits"] is kinds["amount"] is kinds["score"] is kinds["rating"] is Kind.NUMBER
    assert kinds["joined"] is kinds["seen"] is Kind.DATETIME
    assert kinds["note"] is Kind.TEXT
    assert kinds["country"] is kinds["nothing"] is Kind.CONSTANT
    assert all(c.reason for c in schema.columns)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (pa.table({"a": [1]}), "at least 2 rows"),
        (pa.table({}), "must have columns"),
        (pa.table({"a": [[1], [2]]}), "'a'.*Unnest"),
        (pa.table([pa.array([1, 2]), pa.array([3, 4])], names=["a", "a"]), "twice"),
        (pa.table({"a": ["x", "x"]}), "to learn from"),
    ],
)
def test_what_cannot_be_learned_is_refused_by_name(table: pa.Table, says: str) -> None:
    """With the way out."""
    with pytest.raises(SourceError, match=says):
        infer_schema(table, "t")


@example({"\x85": pa.string(), "\u2028": pa.int32(), "\ufeff": pa.bool_()}, 0)
@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=10),
        st.sampled_from(
            [pa.int32(), pa.float64(), pa.string(), pa.bool_(), pa.decimal128(9, 2), pa.date32()]
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 99),
)
def test_a_contract_round_trips_through_yaml(columns: dict[str, pa.DataType], seed: int) -> None:
    """Whatever columns are called, and whatever they hold."""
    rng = np.random.default_rng(seed)
    numbers = {name: pa.array(rng.integers(0, 9, 30)) for name in columns}
    arrays = {
        name: pa.array([f"{name}{v}" for v in numbers[name].to_pylist()])
        if kind == pa.string()
        else numbers[name].cast(pa.int32()).cast(kind)
        if kind != pa.decimal128(9, 2)
        else numbers[name].cast(pa.decimal128(21, 2)).cast(kind)
        for name, kind in columns.items()
    }
    arrays["learnable"] = pa.array([float(i) for i in range(30)])  # the others may be constant
    it = Contract.infer(pa.table(arrays), infer_schema(pa.table(arrays), "s.t"))
    back = Contract.from_yaml(it.to_yaml())

    assert back == it
    assert back.hash == it.hash
    assert it.validate(pa.table(arrays)) == ()


def test_a_violation_names_column_check_count_and_examples(table: pa.Table) -> None:
    """All at once, not one after the other."""
    it = contract(table)
    broken = table.set_column(
        table.column_names.index("visits"),
        "visits",
        pa.array([-5, 999, 999] + [2] * (len(table) - 3), pa.int16()),
    )
    broken = broken.set_column(
        broken.column_names.index("level"),
        "level",
        pa.array(["odd"] * 2 + ["low"] * (len(table) - 2)).dictionary_encode(),
    )
    found = {(v.column, v.count): v for v in it.validate(broken)}

    assert ("visits", 1) in found
    assert ("visits", 2) in found
    assert found[("level", 2)].examples == ("odd",)
    with pytest.raises(ContractViolation, match=r"'crm\.mixed'"):
        it.enforce(broken)


def test_columns_that_are_missing_unexpected_or_of_another_type_are_named(table: pa.Table) -> None:
    """Before any cell is looked at."""
    drifted = table.drop_columns(["note"]).append_column("new", pa.array([1] * len(table)))
    drifted = drifted.set_column(
        drifted.column_names.index("visits"), "visits", drifted["visits"].cast(pa.int64())
    )
    found = {(v.column, v.check) for v in contract(table).validate(drifted)}

    assert found == {
        ("note", "column is there"),
        ("new", "column is in the contract"),
        ("visits", "type is int16"),
    }


def test_unknown_keys_and_kinds_are_refused(table: pa.Table) -> None:
    """A misspelt rule is not a rule that silently does not hold."""
    text = contract(table).to_yaml()
    with pytest.raises(UsageError, match="minimun"):
        Contract.from_yaml(text.replace("minimum", "minimun"))
    with pytest.raises(UsageError, match="kind must be"):
        Contract.from_yaml(text.replace("kind: key", "kind: keey"))
    with pytest.raises(UsageError):
        Contract.from_yaml("just a line")


def test_the_suite_passes_a_good_table_and_names_what_a_bad_one_breaks() -> None:
    """Rows by the contract, figures by the limits."""
    table = mixed_table(200)
    it, limits = contract(table), (Limit("shape_error", None, 2.0, "alike"),)
    good = run_suite(table, it, limits, {"shape_error": 1.0})
    bad = run_suite(
        table.set_column(table.column_names.index("visits"), "visits", pa.array([999] * 200, pa.int16())),
        it,
        limits,
        {"shape_error": 9.0},
    )

    assert good.passed, [e for e in good.expectations if not e.success]
    assert {e.column for e in bad.expectations if not e.success} == {"visits", "shape_error"}


@pytest.mark.parametrize(
    "kind",
    [
        pa.int8(),
        pa.uint64(),
        pa.float32(),
        pa.decimal128(12, 2),
        pa.timestamp("us", tz="UTC"),
        pa.time64("us"),
        pa.duration("s"),
        pa.date32(),
        pa.string(),
        pa.dictionary(pa.uint8(), pa.string()),
    ],
    ids=str,
)
def test_arrow_types_are_read_back_from_their_names(kind: pa.DataType) -> None:
    """And each has a DuckDB type."""
    assert arrow_type(str(kind)) == kind
    assert sql_type(kind)


def test_keys_beyond_the_whole_numbers_of_a_float_are_told_apart() -> None:
    """In the suite that holds a candidate against its contract."""
    first = 2**63 - 1000
    table = pa.table({"id": pa.array(range(first, first + 300)), "k": [i % 3 for i in range(300)]})
    rules = contract(table)
    assert rules.schema["id"].kind is Kind.KEY

    assert all(it.success for it in run_suite(table, rules, (), {}).expectations)
