"""Conditions in SQL as plain comparisons of columns with values, parsed by sqlglot."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tabdar_pipeline.errors import ConditionError
from tabdar_pipeline.schemas.partitions import Part
from tabdar_pipeline.schemas.table import TableSchema

if TYPE_CHECKING:
    from sqlglot import exp


SHOWN = 40  # characters of a condition that is too long to be shown


@dataclass(frozen=True, slots=True)
class Predicate:
    """One comparison of one column: =, <>, <, <=, >, >=, in, not in, null, not null."""

    column: str
    operator: str
    values: tuple[str, ...] = ()


def parse(where: str, schema: TableSchema) -> tuple[Predicate, ...]:
    """Predicates of a conjunction in DuckDB's SQL.

    >>> import pyarrow as pa
    >>> from tabdar_pipeline.schemas.infer import infer_schema
    >>> schema = infer_schema(pa.table({"age": [20, 30, 40]}), "people")
    >>> parse("age BETWEEN 25 AND 35", schema)
    (Predicate(column='age', operator='>=', values=('25',)), Predicate(column='age', operator='<=', values=('35',)))
    """
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.condition(where, dialect="duckdb")
        return tuple(_predicates(tree, schema))
    except SqlglotError as error:
        raise ConditionError(
            f"a condition must be SQL, however {where!r} is not: {str(error).splitlines()[0]} Correct it."
        ) from error
    except RecursionError as error:
        raise ConditionError(
            f"a condition must nest a few levels, however {where[:SHOWN]!r} ... nests deeper than can be read. "
            "Join plain comparisons by AND."
        ) from error


def of_part(part: Part) -> tuple[Predicate, ...]:
    """What the rows of a partition satisfy.

    >>> of_part(Part("region", "north"))
    (Predicate(column='region', operator='=', values=('north',)),)
    """
    if part.end is None:
        return (Predicate(part.column, "=", (part.key,)),)
    return Predicate(part.column, ">=", (part.key,)), Predicate(part.column, "<", (part.end,))


_COMPARED = {"EQ": "=", "NEQ": "<>", "GT": ">", "GTE": ">=", "LT": "<", "LTE": "<="}
_MIRRORED = {"=": "=", "<>": "<>", ">": "<", ">=": "<=", "<": ">", "<=": ">="}
_NEGATED = {
    "=": "<>",
    "<>": "=",
    ">": "<=",
    ">=": "<",
    "<": ">=",
    "<=": ">",
    "in": "not in",
    "null": "not null",
}


def _predicates(tree: "exp.Expr", schema: TableSchema) -> Iterator[Predicate]:
    from sqlglot import exp

    tree = tree.unnest()
    if isinstance(tree, exp.And):
        yield from _predicates(tree.left, schema)
        yield from _predicates(tree.right, schema)
    elif isinstance(tree, exp.Not):
        inner = [*_predicates(tree.this, schema)]
        if len(inner) != 1 or inner[0].operator not in _NEGATED:
            raise _unknown(tree)
        yield Predicate(inner[0].column, _NEGATED[inner[0].operator], inner[0].values)
    elif isinstance(tree, exp.Between):
        column = _column(tree.this, schema)
        yield Predicate(column, ">=", (_literal(tree.args["low"]),))
        yield Predicate(column, "<=", (_literal(tree.args["high"]),))
    elif isinstance(tree, exp.In) and tree.expressions:
        yield Predicate(_column(tree.this, schema), "in", tuple(_literal(v) for v in tree.expressions))
    elif isinstance(tree, exp.Is) and isinstance(tree.expression, exp.Null):
        yield Predicate(_column(tree.this, schema), "null")
    elif isinstance(tree, exp.Column):
        yield Predicate(_column(tree, schema), "=", ("true",))
    elif isinstance(tree, exp.Binary) and type(tree).__name__ in _COMPARED:
        operator, left, right = _COMPARED[type(tree).__name__], tree.left, tree.right
        if isinstance(right.unnest(), exp.Column):
            operator, left, right = _MIRRORED[operator], right, left
        yield Predicate(_column(left, schema), operator, (_literal(right),))
    else:
        raise _unknown(tree)


def _column(tree: "exp.Expr", schema: TableSchema) -> str:
    """The column meant: exactly, or but for its case where that is no other's."""
    from sqlglot import exp

    tree = tree.unnest()
    if not isinstance(tree, exp.Column):
        raise _unknown(tree)
    exact = [n for n in schema.names if n == tree.name]
    alike = exact or [n for n in schema.names if n.casefold() == tree.name.casefold()]
    if len(alike) != 1:
        raise ConditionError(
            f"a condition must name columns of {schema.name!r}, however {tree.name!r} is none of "
            f"{', '.join(map(repr, schema.names))}. Text values stand in single quotes."
        )
    return alike[0]


def _literal(tree: "exp.Expr") -> str:
    from sqlglot import exp

    tree = tree.unnest()
    if isinstance(tree, exp.Cast):
        return _literal(tree.this)
    if isinstance(tree, exp.Neg):
        return f"-{_literal(tree.this)}"
    if isinstance(tree, exp.Boolean):
        return str(bool(tree.this)).lower()
    if not isinstance(tree, exp.Literal):
        raise _unknown(tree)
    return str(tree.this)


def _unknown(tree: "exp.Expr") -> ConditionError:
    return ConditionError(
        "a condition must be comparisons of columns with values (=, <>, <, <=, >, >=, BETWEEN, IN, IS NULL), "
        f"joined by AND, however: {tree.sql(dialect='duckdb')!r}. Instead of OR, use IN, or draw twice."
    )
