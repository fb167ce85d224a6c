"""What a database holds: tables found by name, described, and selected from."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from tabdar_pipeline.errors import SourceError, UsageError
from tabdar_pipeline.warehouse.digest import ordered_by_content
from tabdar_pipeline.warehouse.duckdb import Connection, Warehouse, fact
from tabdar_pipeline.warehouse.names import ColumnName, Relation, did_you_mean, identifier, resolved

# What neither Arrow nor parquet can hold travels as what they can; a release casts it back.
_CARRIED_AS = {
    "HUGEINT": "DECIMAL(38,0)",
    "UHUGEINT": "DECIMAL(38,0)",
    "BIGNUM": "VARCHAR",
    "BIT": "VARCHAR",
    "INTERVAL": "VARCHAR",
    "TIME WITH TIME ZONE": "VARCHAR",
}

_NESTED = re.compile(r"(?:STRUCT|MAP|UNION)\(.*|.*\[\d*\]|VARIANT", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a table: columns, a filter in SQL that the author of the YAML wrote, a cap."""

    columns: Sequence[str] | None = None
    where: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        """Refuse a selection of nothing."""
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"a row cap must be 1 or more, however: {self.limit}. Correct it.")
        if self.columns is not None and len(set(self.columns)) != len(self.columns):
            raise UsageError(f"columns must be named once, however: {list(self.columns)}. Correct them.")
        if self.columns is not None and not self.columns:
            raise UsageError("columns must be one or more, however there are none. Leave them out for all.")


@dataclass(frozen=True, slots=True)
class Description:
    """What the catalog says of a table: types and comments by column, and which columns are keys."""

    name: str  # schema.table, as the database writes it
    sql_types: dict[str, str]
    keys: tuple[str, ...]  # each alone a primary key or unique
    references: dict[str, str]  # of foreign keys of one column: the schema.table.column that they refer to
    comment: str | None
    comments: dict[str, str]


def describe(warehouse: Warehouse, name: str) -> Description:
    """The table's description; SourceError with candidates where there is no such table."""
    with warehouse.connect(read_only=True) as connection, readable(name):
        relation = find_relation(connection, warehouse, name)
        types = types_of(connection, f"SELECT * FROM {relation.sql}")
        return Description(
            str(relation),
            types,
            _keys(connection, relation),
            _references(connection, relation),
            _table_comment(connection, relation),
            column_comments(connection, relation),
        )


def find_relation(connection: Connection, warehouse: Warehouse, name: str) -> Relation:
    """The table or view of that name, as the database writes it."""
    wanted = Relation.parse(name)
    rows = connection.execute(
        "SELECT table_schema, table_name FROM information_schema.tables "
        "WHERE table_catalog = current_database() ORDER BY ALL"
    ).fetchall()
    known = {str(relation): relation for relation in (Relation(*row) for row in rows)}
    found = resolved(str(wanted), list(known))
    if found is None:
        raise SourceError(
            f"table {str(wanted)!r} must be in {str(warehouse.path)!r}, however it is not there. "
            f"{did_you_mean(str(wanted), list(known))}"
        )
    return known[found]


def types_of(connection: Connection, query: str) -> dict[str, str]:
    """DuckDB's types of a query's columns, by name."""
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE {query}").fetchall()}


@dataclass(frozen=True, slots=True)
class Selected:
    """A checked selection: the SELECT that reads it and the source's types of its columns."""

    relation: Relation
    query: str
    sql_types: dict[str, str]


def select(
    connection: Connection, warehouse: Warehouse, name: str, part: Selection, *, ordered: bool = True
) -> Selected:
    """The SELECT of a selection; every name in it is checked before any row is read."""
    relation = find_relation(connection, warehouse, name)
    have = types_of(connection, f"SELECT * FROM {relation.sql}")
    types = {column: have[column] for column in _columns(relation, part, list(have))}
    _refuse_nested(relation, types)
    query = carried(relation, types)
    if part.where is not None:
        _refuse_filter(connection, relation, part.where)
        query += f" WHERE (\n{part.where}\n)"
    if ordered or part.limit is not None:
        query = ordered_by_content(query, list(types), part.limit)
    return Selected(relation, query, types)


def carried(relation: Relation, types: Mapping[str, str]) -> str:
    """The SELECT of columns in types that Arrow and parquet hold without loss."""
    cells = ", ".join(_carried(column, kind) for column, kind in types.items())
    return f"SELECT {cells} FROM {relation.sql}"


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Tell in our words why a table's rows cannot be read: a broken view, a type, a failing filter."""
    try:
        yield
    except (
        duckdb.DataError,
        duckdb.ProgrammingError,
        duckdb.NotSupportedError,
        pa.ArrowInvalid,
        pa.ArrowNotImplementedError,
    ) as error:
        raise SourceError(
            f"table {name!r} must be readable row by row, however: {fact(error)}. Correct the view "
            "or the filter, or leave the column out with `columns`."
        ) from error


def _columns(relation: Relation, part: Selection, have: Sequence[str]) -> list[str]:
    found = []
    for column in have if part.columns is None else part.columns:
        name = resolved(column, have)
        if name is None:
            raise SourceError(
                f"table {str(relation)!r} must have the column {column!r}, however it has not. "
                f"{did_you_mean(column, have)}"
            )
        found.append(name)
    return found


def _refuse_nested(relation: Relation, types: Mapping[str, str]) -> None:
    for column, kind in types.items():
        if _NESTED.fullmatch(kind):
            raise SourceError(
                f"table {str(relation)!r}, column {column!r}: a column must hold single values, however its "
                f"type is {kind}. Unnest it or cast it to VARCHAR in a view, or leave it out with `columns`."
            )


def _carried(column: str, kind: str) -> str:
    name = identifier(column)
    return f"CAST({name} AS {_CARRIED_AS[kind]}) AS {name}" if kind in _CARRIED_AS else name


def _refuse_filter(connection: Connection, relation: Relation, where: str) -> None:
    """Refuse what is not one boolean expression over this table, before it runs."""
    try:
        duckdb.SQLExpression(where)  # one expression: no statement, no ';', no loose parenthesis
        types = types_of(connection, f"SELECT (\n{where}\n) FROM {relation.sql}")
        connection.execute(f"EXPLAIN SELECT 1 FROM {relation.sql} WHERE (\n{where}\n)").fetchall()
    except duckdb.Error as error:
        raise UsageError(
            f"a filter of {str(relation)!r} must be one SQL expression over its columns, "
            f"however: {where!r}: {fact(error)}. Correct it."
        ) from error
    if list(types.values()) != ["BOOLEAN"]:
        raise UsageError(
            f"a filter of {str(relation)!r} must be true or false, however {where!r} is "
            f"{', '.join(types.values())}. Compare it with something."
        )


def _keys(connection: Connection, relation: Relation) -> tuple[str, ...]:
    rows = connection.execute(
        "SELECT constraint_column_names FROM duckdb_constraints() WHERE database_name = current_database() "
        "AND schema_name = ? AND table_name = ? AND constraint_type IN ('PRIMARY KEY', 'UNIQUE')",
        [relation.schema, relation.name],
    ).fetchall()
    return tuple(dict.fromkeys(names[0] for (names,) in rows if len(names) == 1))


def _references(connection: Connection, relation: Relation) -> dict[str, str]:
    """DuckDB's foreign keys; they never leave the schema of the table."""
    rows = connection.execute(
        "SELECT constraint_column_names, referenced_table, referenced_column_names FROM duckdb_constraints() "
        "WHERE database_name = current_database() AND schema_name = ? AND table_name = ? "
        "AND constraint_type = 'FOREIGN KEY'",
        [relation.schema, relation.name],
    ).fetchall()
    return {
        own[0]: str(ColumnName(Relation(relation.schema, table), other[0]))
        for own, table, other in rows
        if len(own) == 1
    }


def _table_comment(connection: Connection, relation: Relation) -> str | None:
    rows = connection.execute(
        "SELECT comment FROM (SELECT * FROM duckdb_tables() UNION ALL BY NAME "
        "SELECT *, view_name AS table_name FROM duckdb_views()) "
        "WHERE database_name = current_database() AND schema_name = ? AND table_name = ?",
        [relation.schema, relation.name],
    ).fetchall()
    return rows[0][0] if rows else None


def column_comments(connection: Connection, relation: Relation) -> dict[str, str]:
    """What is said of the columns of a table or view, where something is."""
    rows = connection.execute(
        "SELECT column_name, comment FROM duckdb_columns() WHERE database_name = current_database() "
        "AND schema_name = ? AND table_name = ? AND comment IS NOT NULL ORDER BY column_index",
        [relation.schema, relation.name],
    ).fetchall()
    return dict(rows)
