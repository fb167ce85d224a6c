"""Names in SQL and on disk: parsed once, quoted everywhere."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tabdar_pipeline.errors import UsageError

_PART = r'(?:"(?:[^"\x00]|"")+"|[^".\x00]+)'
_RELATION = re.compile(rf"(?:({_PART})\.)?({_PART})")
_CELLS = re.compile(rf"((?:{_PART}\.)?{_PART})\.({_PART})")
_UNSAFE_IN_PATHS = re.compile(r'[\x00-\x20%=./\\:*?"<>|\x7f]')


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view by schema and name, unquoted.

    >>> Relation.parse("crm.customers").sql
    '"crm"."customers"'
    >>> str(Relation.parse('crm."a.b"'))
    'crm."a.b"'
    """

    schema: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "schema.table", or "table" in the schema main; double quotes around a name with a dot."""
        match = _RELATION.fullmatch(text)
        if match is None:
            raise UsageError(
                f"a table must be named schema.table, with double quotes around a name that holds "
                f"a dot, however: {text!r}. Correct the name."
            )
        schema, name = match.groups()
        return cls(_unquoted(schema) if schema else "main", _unquoted(name))

    @property
    def sql(self) -> str:
        """Quoted, for a statement."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    @property
    def folder(self) -> str:
        """One part of a path, and of no other relation's.

        >>> Relation("crm", "../x").folder
        'crm.%2E%2E%2Fx'
        """
        return f"{path_part(self.schema)}.{path_part(self.name)}"

    def release(self, number: int) -> "Relation":
        """The immutable table of one release.

        >>> str(Relation("crm", "customers").release(7))
        'crm.customers__r0007'
        """
        return Relation(self.schema, f"{self.name}__r{number:04d}")

    def beside(self, name: str) -> "Relation":
        """A table that stands beside this one.

        >>> print(Relation("imputed", "customers").beside("imputed"))
        imputed.customers__imputed
        """
        return Relation(self.schema, f"{self.name}__{name}")

    def __str__(self) -> str:
        """As a person writes it; `parse` reads it back."""
        return f"{_written(self.schema)}.{_written(self.name)}"


@dataclass(frozen=True, slots=True)
class ColumnName:
    """A column of a table or view, unquoted.

    >>> str(ColumnName.parse('crm.customers."the.id"'))
    'crm.customers."the.id"'
    """

    relation: Relation
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "schema.table.column", or "table.column" in the schema main; raises UsageError."""
        match = _CELLS.fullmatch(text)
        if match is None:
            raise UsageError(
                f"a column must be named schema.table.column, with double quotes around a name that holds "
                f"a dot, however: {text!r}. Correct the name."
            )
        return cls(Relation.parse(match[1]), _unquoted(match[2]))

    def __str__(self) -> str:
        """As a person writes it; `parse` reads it back."""
        return f"{self.relation}.{_written(self.name)}"


def identifier(name: str) -> str:
    """A name as a SQL identifier.

    >>> print(identifier('say "hi" twice'))
    "say ""hi"" twice"
    """
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a SQL string, for the statements that cannot bind values.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def did_you_mean(name: str, candidates: Sequence[str]) -> str:
    """The next step after a name that is not there.

    >>> did_you_mean("crm.customer", ["crm.customers", "crm.orders"])
    "Did you mean 'crm.customers'?"
    """
    near = difflib.get_close_matches(name, candidates, n=3, cutoff=0.75)
    if near:
        return f"Did you mean {' or '.join(map(repr, near))}?"
    more = ", ..." if len(candidates) > 10 else ""
    return f"There are: {', '.join(map(repr, candidates[:10])) or 'none'}{more}."


def resolved(name: str, candidates: Sequence[str]) -> str | None:
    """The candidate of that name: exactly, or but for its case, as SQL compares names.

    >>> resolved("Age", ["age", "city"])
    'age'
    """
    if name in candidates:
        return name
    return next((it for it in candidates if it.lower() == name.lower()), None)


def _unquoted(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def _written(name: str) -> str:
    return identifier(name) if "." in name or '"' in name else name


def path_part(name: str) -> str:
    """A name as one part of a path, and of no other name's.

    >>> path_part("a/b")
    'a%2Fb'
    """
    return _UNSAFE_IN_PATHS.sub(lambda match: f"%{ord(match[0]):02X}", name)
