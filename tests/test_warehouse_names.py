"""Names: what is parsed can be written, and no name escapes its quotes or its folder."""

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.warehouse.names import Relation, did_you_mean, identifier, literal, resolved

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


@given(NAMES, NAMES)
def test_a_relation_is_read_back_from_what_it_writes(schema: str, name: str) -> None:
    """Whatever its names hold: dots, quotes, spaces, any script."""
    relation = Relation(schema, name)
    assert Relation.parse(str(relation)) == relation


@given(NAMES)
def test_a_quoted_name_is_that_name_to_the_database(name: str) -> None:
    """SQL in a name stays a name."""
    with duckdb.connect() as connection:
        (described,) = connection.execute(f"DESCRIBE SELECT 1 AS {identifier(name)}").fetchall()
        assert described[0] == name
        assert connection.execute(f"SELECT {literal(name)}").fetchall() == [(name,)]


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
def test_a_folder_is_one_harmless_part_of_a_path_and_no_other_relations(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    """Neither "..", nor a slash, nor a control character; and never shared."""
    folder = Relation(*one).folder
    assert not set(folder) & set("/\\\0\n *?:")
    assert folder not in {".", ".."}
    assert not folder.startswith(".")
    assert (folder == Relation(*other).folder) == (one == other)


def test_a_table_without_a_schema_is_in_main() -> None:
    """As in DuckDB."""
    assert Relation.parse("people") == Relation("main", "people")


@pytest.mark.parametrize("text", ["", "a.b.c", ".a", "a.", '"a', 'a."b"c', '""', "a\0b"])
def test_what_is_no_name_of_a_table_is_refused(text: str) -> None:
    """With the rule and the fact."""
    with pytest.raises(UsageError, match=r"schema\.table"):
        Relation.parse(text)


def test_a_wrong_name_is_answered_with_the_near_ones_or_with_all() -> None:
    """The next step is in the message."""
    assert did_you_mean("agee", ["age", "city"]) == "Did you mean 'age'?"
    assert did_you_mean("x", ["age", "city"]) == "There are: 'age', 'city'."
    assert did_you_mean("x", []) == "There are: none."


def test_names_differ_by_more_than_case() -> None:
    """An exact match wins over one that only SQL takes for equal."""
    assert resolved("AGE", ["age", "city"]) == "age"
    assert resolved("AGE", ["age", "AGE"]) == "AGE"
    assert resolved("ages", ["age"]) is None
