"""Imputation: observed cells stay bit for bit, each row by itself."""

import decimal

import numpy as np
import pyarrow as pa
import pytest
from conftest import mixed_table
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tabdar_pipeline.errors import SourceError, UsageError
from tabdar_pipeline.imputation import Request
from tabdar_pipeline.synthesizer import TabDAR

COLUMNS = ("level", "visits", "amount", "score", "active", "joined", "seen", "rating")


def holed(rows: int = 200, seed: int = 5) -> pa.Table:
    """A table with three cells of ten missing."""
    rng, table = np.random.default_rng(seed), mixed_table(rows, seed)
    for name in COLUMNS:
        hide = pa.array(rng.random(rows) < 0.3)
        column = table[name].combine_chunks()
        values = pa.array(
            [None if h else v for h, v in zip(hide.to_pylist(), column.to_pylist(), strict=True)],
            table[name].type,
        )
        table = table.set_column(table.column_names.index(name), name, values)
    return table


def test_observed_cells_are_bit_for_bit_as_they_were(model: TabDAR) -> None:
    """And no modelled cell is left missing."""
    table = holed()
    filled = model.impute(table, seed=1)
    for name in table.column_names:
        before, after = table[name].to_pylist(), filled[name].to_pylist()
        assert all(a == b for a, b in zip(before, after, strict=True) if a is not None), name
    assert all(filled[name].null_count == 0 for name in COLUMNS)
    assert filled.schema == table.schema


def test_a_row_does_not_depend_on_the_rows_beside_it(model: TabDAR) -> None:
    """Alone or among others, its cells are filled alike."""
    table = holed()
    whole, part = model.impute(table, seed=1), model.impute(table.slice(50, 20), seed=1)

    for name in ("level", "visits", "active", "rating", "amount", "joined"):
        assert whole[name].slice(50, 20).to_pylist() == part[name].to_pylist(), name
    assert np.allclose(whole["score"].slice(50, 20).to_numpy(), part["score"].to_numpy(), atol=1e-4)


def test_draws_differ_and_the_seed_repeats_them(model: TabDAR) -> None:
    """Several draws are several tables, one after the other."""
    table = holed(50)
    twice = model.impute(table, seed=1, draws=2)

    assert twice["draw"].to_pylist() == [1] * 50 + [2] * 50
    twice = twice.drop_columns("draw")
    assert twice.num_rows == 100
    assert twice.slice(0, 50).equals(model.impute(table, seed=1))
    assert not twice.slice(0, 50).equals(twice.slice(50))


def test_unseen_levels_are_tolerated_as_evidence(model: TabDAR) -> None:
    """They are not visible, and stay as they are."""
    table = holed(30)
    strange = pa.array(["never seen"] * 30).dictionary_encode()
    table = table.set_column(table.column_names.index("level"), "level", strange)
    filled = model.impute(table)

    assert filled["level"].to_pylist() == ["never seen"] * 30
    assert filled["score"].null_count == 0


def test_equal_rows_are_drawn_apart_and_estimated_alike(model: TabDAR) -> None:
    """Draws have the spread of the distribution; an estimate is its centre."""
    one = holed(1)
    for name in COLUMNS:
        one = one.set_column(one.column_names.index(name), name, pa.nulls(1, one[name].type))
    many = pa.concat_tables([one] * 300)
    drawn, mean, mode = (model.impute(many, point=p) for p in ("draw", "mean", "mode"))

    assert len(set(drawn["score"].to_pylist())) > 100
    assert set(drawn["level"].to_pylist()) == {"low", "mid", "high"}
    assert len(set(mean["score"].to_pylist())) == 1
    assert len(set(mode["level"].to_pylist())) == 1
    assert abs(mean["score"][0].as_py() - np.mean(drawn["score"].to_pylist())) < 0.3


def test_only_the_columns_asked_for_are_filled(model: TabDAR) -> None:
    """And a name that is no column is refused."""
    table = holed(50)
    filled = model.impute(table, columns=["score"], point="median")

    assert filled["score"].null_count == 0
    assert filled["visits"].equals(table["visits"])
    with pytest.raises(UsageError, match="'scores'"):
        model.impute(table, columns=["scores"])


def test_a_table_of_wider_types_is_filled_in_the_models_own(model: TabDAR) -> None:
    """Whole numbers with gaps come as floats out of pandas, and enums as strings: values are the same."""
    holey = holed()
    at = {name: holey.schema.get_field_index(name) for name in ("rating", "visits", "level")}
    loose = holey.set_column(at["rating"], "rating", holey["rating"].cast(pa.float64()))
    loose = loose.set_column(at["visits"], "visits", holey["visits"].cast(pa.int64()))
    loose = loose.set_column(at["level"], "level", holey["level"].cast(pa.string()))
    filled = model.impute(loose, seed=1, engine="torch")
    assert filled.equals(model.impute(holey, seed=1, engine="torch"))


def test_a_value_that_the_models_type_cannot_hold_is_refused(model: TabDAR) -> None:
    """2.5 visits are none of whole visits."""
    holey = holed()
    halves = pa.array([2.5] * len(holey))
    broken = holey.set_column(holey.schema.get_field_index("visits"), "visits", halves)
    with pytest.raises(UsageError, match=r"'visits'.*int16.*2\.5|'visits'.*truncated.*Cast"):
        model.impute(broken, engine="torch")


@pytest.mark.parametrize(
    ("column", "value", "would"),
    [("amount", 20.005, "20.0"), ("amount", decimal.Decimal("0.125"), "data loss"), ("active", 2, "True")],
)
def test_a_value_that_would_be_rounded_is_refused(
    model: TabDAR, column: str, value: object, would: str
) -> None:
    """By column and value; what comes back as it was is taken."""
    holey = holed()
    at = holey.schema.get_field_index(column)
    with pytest.raises(UsageError, match=rf"'{column}'.*{value!s}.*{would}"):
        model.impute(holey.set_column(at, column, pa.array([value] * len(holey))), engine="torch")
    kept = model.impute(holey.set_column(at, column, pa.array([1.0] * len(holey))), engine="torch")
    assert kept[column].cast(pa.float64()).to_pylist() == [1.0] * len(holey)


def test_columns_that_a_file_calls_not_null_are_filled(model: TabDAR) -> None:
    """DuckDB writes them so where none is missing."""
    holey = holed(60)
    fields = [field.with_nullable(holey[field.name].null_count > 0) for field in holey.schema]
    strict = pa.Table.from_arrays(holey.columns, schema=pa.schema(fields))
    assert model.impute(strict, seed=1, engine="torch").equals(model.impute(holey, seed=1, engine="torch"))


def test_columns_of_others_are_kept_and_change_no_draw(model: TabDAR) -> None:
    """In their place, whatever their type."""
    holey = holed(60)
    more = holey.add_column(2, "more", pa.array([[1, 2]] * 60))
    filled = model.impute(more, seed=1, engine="torch")
    assert filled.column_names == more.column_names
    assert filled["more"].equals(more["more"])
    assert filled.drop_columns("more").equals(model.impute(holey, seed=1, engine="torch"))


def test_requests_that_make_no_sense_are_refused(model: TabDAR) -> None:
    """And a table that lacks a column, by its name."""
    for request in ({"draws": 0}, {"point": "avg"}, {"columns": ()}, {"columns": ("",)}):
        with pytest.raises(UsageError, match=r"must .*, however.*\."):
            Request(**request)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=r"'crm\.mixed'.*'score'.*Add"):
        model.impute(holed(30).drop_columns("score"))


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Its values, whatever dictionary they lie in."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


LIKELY = st.sampled_from([0.0, 0.02, 0.5, 1.0])  # shares of missing cells


@st.composite
def patterns(draw: st.DrawFn) -> pa.Table:
    """A table of every type, its cells missing anyhow, its columns in any order, some in a wider type."""
    seed = draw(st.integers(0, 1000))
    rng, table = np.random.default_rng(seed), mixed_table(draw(st.integers(1, 25)), seed)
    wider = {"visits": pa.float64(), "rating": pa.int64(), "level": pa.string(), "score": pa.float64()}
    for name in draw(st.permutations(table.column_names)):
        column = table[name].combine_chunks()
        if draw(st.booleans()):
            column = column.cast(wider.get(name, column.type))
        gone = (rng.random(len(table)) < draw(LIKELY)) & (name != "customer_id")  # equal rows are drawn apart
        keep = pa.array(np.arange(len(table)), mask=gone)
        table = table.drop_columns(name).append_column(name, column.take(keep))
    return table


@given(patterns(), st.sampled_from(["draw", "mean", "median", "mode"]), st.integers(0, 99))
@settings(max_examples=25, phases=[Phase.generate])
def test_whatever_is_missing_observed_cells_are_bit_for_bit_as_they_were(
    model: TabDAR, table: pa.Table, point: str, seed: int
) -> None:
    """Of every type, in every pattern of missing cells; and no modelled cell is left missing."""
    filled = model.impute(table, seed=seed, point=point, engine="torch")  # type: ignore[arg-type]
    assert filled.column_names == table.column_names
    for name in table.column_names:
        known = table[name].is_valid()
        before = table[name].filter(known)
        assert plain(filled[name]).filter(known).cast(plain(before).type).equals(plain(before)), name
    assert all(filled[name].null_count == 0 for name in COLUMNS)


@given(patterns(), st.data())
@settings(max_examples=25, phases=[Phase.generate])
def test_whatever_other_rows_come_with_it_a_row_is_filled_alike(
    model: TabDAR, table: pa.Table, data: st.DataObject
) -> None:
    """Any of the rows, in any order, beside others that miss more: of numbers, but for rounding."""
    keep = pa.array(data.draw(st.lists(st.integers(0, len(table) - 1), min_size=1, unique=True)))
    empty = pa.table({name: pa.nulls(1, table[name].type) for name in table.column_names})
    whole = model.impute(table, seed=1, engine="torch").take(keep)
    part = model.impute(pa.concat_tables([empty, table.take(keep)]), seed=1, engine="torch").slice(1)
    for name in COLUMNS:
        if name in ("score", "seen"):
            one, other = (np.asarray(it[name]).astype(float) for it in (whole, part))
            assert np.allclose(one, other, rtol=1e-4, atol=1e-4), name
        else:
            assert plain(whole[name]).equals(plain(part[name])), name
