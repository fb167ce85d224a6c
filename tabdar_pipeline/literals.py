"""Values that stand in a condition, as DuckDB reads them: plain ones, casts and arithmetic of them, never of columns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from tabdar_pipeline.errors import ConditionError
from tabdar_pipeline.schemas.columns import Column
from tabdar_pipeline.schemas.types import arrow_type, sql_type

if TYPE_CHECKING:
    from sqlglot import exp

_VALUES = "Literal Boolean Null Interval Var DataType DataTypeParam"
_READ = frozenset(f"{_VALUES} Paren Cast Neg Add Sub Mul Div IntDiv Mod DPipe".split())


def texts(values: "Sequence[exp.Expr]", column: Column, table: str) -> tuple[str | None, ...]:
    """These values as text, compared with a column; None is NULL. Text is read as the column's type, as SQL does."""
    import duckdb

    from tabdar_pipeline.warehouse.duckdb import fact

    kind = arrow_type(column.arrow_type)
    plain = [_plain(value, textual=_textual(kind)) for value in values]
    rest = [value for value, text in zip(values, plain, strict=True) if text is None]
    try:
        found = iter(_evaluated([_typed(value, kind) for value in rest], kind) if rest else ())
    except (duckdb.Error, ValueError) as error:
        raise ConditionError(
            f"table {table!r}, column {column.name!r}: what it is compared with must be of its type "
            f"{column.sql_type}, or comparable, however: {fact(error)}. Correct the value."
        ) from error
    return tuple(next(found) if text is None else text for text in plain)


def is_value(tree: "exp.Expr") -> bool:
    """Whether it is a value that can be computed from nothing: no column, no function, no type that is not DuckDB's own."""
    return all(_is_known(node) for node in tree.walk())


def _is_known(node: "exp.Expr") -> bool:
    """Whether a node is of those that are read. A name in it, as of an unknown type, would be SQL that nobody parsed."""
    from sqlglot import exp

    if isinstance(node, exp.DataType) and node.this == exp.DataType.Type.USERDEFINED:
        return False
    if isinstance(node, exp.Var) and not node.name.isalpha():
        return False
    return type(node).__name__ in _READ and not node.args.get("kind")


def _plain(value: "exp.Expr", *, textual: bool) -> str | None:
    """What needs no computing: numbers, truth values, and text that stays text."""
    from sqlglot import exp

    value = value.unnest()
    if isinstance(value, exp.Neg) and isinstance(value.this.unnest(), exp.Literal):
        inner = value.this.unnest()
        return None if inner.is_string else f"-{inner.this}"
    if isinstance(value, exp.Boolean):
        return str(bool(value.this)).lower()
    if isinstance(value, exp.Literal) and (textual or not value.is_string):
        return str(value.this)
    return None


def _typed(value: "exp.Expr", kind: pa.DataType) -> str:
    from sqlglot import exp

    value = value.unnest()
    sql = value.sql(dialect="duckdb")
    if isinstance(value, exp.Literal):
        return f"CAST({sql} AS {sql_type(kind)})"
    return sql


def _evaluated(values: Sequence[str], kind: pa.DataType) -> tuple[str | None, ...]:
    """What DuckDB makes of them, where times without a zone are in the column's own."""
    from tabdar_pipeline.warehouse.duckdb import in_memory

    cells = ", ".join(f"CAST(({value}) AS VARCHAR)" for value in values)
    with in_memory() as connection:
        if pa.types.is_timestamp(kind) and kind.tz:
            connection.execute("SET TimeZone = $zone", {"zone": kind.tz})
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        return tuple(connection.execute(f"SELECT {cells}").fetchone() or ())


def _textual(kind: pa.DataType) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain)
