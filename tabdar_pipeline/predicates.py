"""Conditions in SQL as plain comparisons of columns with values, parsed by sqlglot."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tabdar_pipeline import literals
from tabdar_pipeline.errors import ConditionError
from tabdar_pipeline.schemas.partitions import Part
from tabdar_pipeline.schemas.table import TableSchema

if TYPE_CHECKING:
    from sqlglot import exp


SHOWN = 40  # characters of a condition that is too long to be shown


@dataclass(frozen=True, slots=True)
class Predicate:
    """One comparison of one column: =, <>, <, <=, >, >=, in, not in, like, ilike and their negations, null, not null."""

    column: str
    operator: str
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As SQL writes it, or nearly.

        >>> str(Predicate("age", "in", ("20", "30")))
        "age IN ('20', '30')"
        """
        if self.operator.endswith("null"):
            return f"{self.column} IS {self.operator.upper()}"
        said = ", ".join(map(repr, self.values))
        return (
            f"{self.column} {self.operator.upper()} {f'({said})' if self.operator.endswith('in') else said}"
        )


@dataclass(frozen=True, slots=True)
class Either:
    """One column satisfies all clauses of one option at least."""

    column: str
    options: "tuple[tuple[Clause, ...], ...]"

    def __str__(self) -> str:
        """As SQL writes it, or nearly."""
        return f"({' OR '.join(' AND '.join(map(str, option)) for option in self.options)})"


Clause = Predicate | Either


def parse(where: str, schema: TableSchema) -> tuple[Clause, ...]:
    """Clauses that are joined by AND, of a condition in DuckDB's SQL.

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
        return tuple(_clauses(tree, schema))
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


def column_named(name: str, schema: TableSchema) -> str:
    """The column meant: exactly, or but for its case where that is no other's."""
    exact = [n for n in schema.names if n == name]
    alike = exact or [n for n in schema.names if n.casefold() == name.casefold()]
    if len(alike) != 1:
        raise ConditionError(
            f"a condition must name columns of {schema.name!r}, however {name!r} is none of "
            f"{', '.join(map(repr, schema.names))}. Text values stand in single quotes."
        )
    return alike[0]


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
    "like": "not like",
    "ilike": "not ilike",
    "not like": "like",
    "not ilike": "ilike",
    "null": "not null",
}


def _clauses(tree: "exp.Expr", schema: TableSchema, *, negated: bool = False) -> Iterator[Clause]:
    """Negations are carried down to the comparisons, which are never true of NULL."""
    from sqlglot import exp

    tree = tree.unnest()
    if isinstance(tree, exp.Not):
        yield from _clauses(tree.this, schema, negated=not negated)
    elif isinstance(tree, exp.And | exp.Or):
        sides = [tuple(_clauses(side, schema, negated=negated)) for side in (tree.left, tree.right)]
        yield from _joined(tree, sides, schema, every=isinstance(tree, exp.And) is not negated)
    elif isinstance(tree, exp.Between):
        yield from _between(tree, schema, negated=negated)
    elif isinstance(tree, exp.NullSafeEQ | exp.NullSafeNEQ):
        same = isinstance(tree, exp.NullSafeEQ) is not negated
        yield _same_as(_column(tree.left, schema), tree.right, schema, same=same)
    elif isinstance(tree, exp.Is):
        yield _same_as(_column(tree.this, schema), tree.expression, schema, same=not negated)
    else:
        found = _comparison(tree, schema)
        operator = _NEGATED[found.operator] if negated else found.operator
        yield Predicate(found.column, operator, found.values)


def _joined(
    tree: "exp.Expr", sides: Sequence[tuple[Clause, ...]], schema: TableSchema, *, every: bool
) -> Iterator[Clause]:
    """Both sides, or either where they are of one column."""
    clauses = [clause for side in sides for clause in side]
    if every:
        yield from clauses
        return
    names = {clause.column for clause in clauses}
    if len(names) > 1:
        raise ConditionError(
            f"table {schema.name!r}: what OR joins must be of one column, however {tree.sql(dialect='duckdb')!r} is of "
            f"{', '.join(map(repr, sorted(names)))}. Instead of OR, draw once for each side."
        )
    yield Either(names.pop(), tuple(sides))


def _between(tree: "exp.Between", schema: TableSchema, *, negated: bool) -> Iterator[Clause]:
    column, ends = _column(tree.this, schema), (tree.args["low"], tree.args["high"])
    low, high = _values(ends, column, schema)

    def inside(first: str, last: str) -> tuple[Predicate, ...]:
        return Predicate(column, ">=", (first,)), Predicate(column, "<=", (last,))

    def outside(first: str, last: str) -> Either:
        return Either(column, ((Predicate(column, "<", (first,)),), (Predicate(column, ">", (last,)),)))

    if not tree.args.get("symmetric"):
        yield from (outside(low, high),) if negated else inside(low, high)
    elif negated:
        yield from (outside(low, high), outside(high, low))
    else:
        yield Either(column, (inside(low, high), inside(high, low)))


def _same_as(column: str, value: "exp.Expr", schema: TableSchema, *, same: bool) -> Clause:
    """IS [NOT] DISTINCT FROM, and IS [NOT] of NULL, TRUE or FALSE: never unknown."""
    from sqlglot import exp

    if isinstance(value.unnest(), exp.Null):
        return Predicate(column, "null" if same else "not null")
    values = _values([value], column, schema)
    if same:
        return Predicate(column, "=", values)
    return Either(column, ((Predicate(column, "<>", values),), (Predicate(column, "null"),)))


def _comparison(tree: "exp.Expr", schema: TableSchema) -> Predicate:
    from sqlglot import exp

    if isinstance(tree, exp.Column):
        return Predicate(_column(tree, schema), "=", ("true",))
    if isinstance(tree, exp.In) and tree.expressions:
        column = _column(tree.this, schema)
        return Predicate(column, "in", _values(tree.expressions, column, schema))
    if isinstance(tree, exp.Like | exp.ILike) and tree.expression.is_string:
        operator = "like" if isinstance(tree, exp.Like) else "ilike"
        operator = _NEGATED[operator] if tree.args.get("negate") else operator
        return Predicate(_column(tree.this, schema), operator, (tree.expression.name,))
    if isinstance(tree, exp.Binary) and type(tree).__name__ in _COMPARED:
        operator, left, right = _COMPARED[type(tree).__name__], tree.left, tree.right
        if isinstance(right.unnest(), exp.Column):
            operator, left, right = _MIRRORED[operator], right, left
        column = _column(left, schema)
        return Predicate(column, operator, _values([right], column, schema))
    raise _unknown(tree, schema)


def _column(tree: "exp.Expr", schema: TableSchema) -> str:
    from sqlglot import exp

    tree = tree.unnest()
    if not isinstance(tree, exp.Column):
        raise _unknown(tree, schema)
    table = ".".join(part.name for part in tree.parts[:-1]).casefold()
    if table and not f".{schema.name.casefold()}".endswith(f".{table}"):
        raise ConditionError(
            f"a condition must name columns of {schema.name!r}, however {tree.sql(dialect='duckdb')!r} is of "
            "another table. Name the column alone."
        )
    return column_named(tree.name, schema)


def _values(trees: "Sequence[exp.Expr]", column: str, schema: TableSchema) -> tuple[str, ...]:
    """Values that a column is compared with, as text."""
    for tree in trees:
        if not literals.is_value(tree):
            raise _unknown(tree, schema)
    found = literals.texts(trees, schema[column], schema.name)
    known = tuple(text for text in found if text is not None)
    if len(known) < len(found):
        raise ConditionError(
            f"table {schema.name!r}, column {column!r}: a comparison must be with a value, however it is with NULL, "
            "of which it is never true. Say IS NULL, or IS NOT NULL."
        )
    return known


def _unknown(tree: "exp.Expr", schema: TableSchema) -> ConditionError:
    return ConditionError(
        f"table {schema.name!r}: a condition must be comparisons of columns with values (=, <>, <, <=, >, >=, BETWEEN, IN, LIKE, IS), joined "
        f"by AND, or by OR where they are of one column, however: {tree.sql(dialect='duckdb')!r}. Say it so, or draw "
        "more rows and filter them."
    )
