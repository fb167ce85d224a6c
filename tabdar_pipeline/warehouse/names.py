"""Names in SQL and on disk: parsed once, quoted everywhere."""

import re
from dataclasses import dataclass
from typing import Self

from tabdar_pipeline.errors import UsageError

_PART = r'(?:"(?:[^"\x00]|"")+"|[^".\x00]+)'
_RELATION = re.compile(rf"(?:({_PART})\.)?({_PART})")
_UNSAFE_IN_PATHS = re.compile(r'[\x00-\x20%./\\:*?"<>|\x7f]')


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or a view: its schema and its name, unquoted.

    >>> Relation.parse("crm.customers").sql
    '"crm"."customers"'
    >>> str(Relation.parse('crm."a.b"'))
    'crm."a.b"'
    """

    schema: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """`schema.table`, or `table` in schema main; names with dots in double quotes."""
        match = _RELATION.fullmatch(text)
        if match is None:
            raise UsageError(
                f"a table must be named schema.table (double quotes around a name with a dot), "
                f"however: {text!r}. Correct the name."
            )
        schema, name = match.groups()
        return cls(_unquoted(schema) if schema else "main", _unquoted(name))

    @property
    def sql(self) -> str:
        """Both names quoted."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    @property
    def folder(self) -> str:
        """One path component that no other relation has.

        >>> Relation("crm", "../x").folder
        'crm.%2E%2E%2Fx'
        """
        return f"{_path_part(self.schema)}.{_path_part(self.name)}"

    def release(self, number: int) -> "Relation":
        """The immutable table of one release.

        >>> str(Relation("crm", "customers").release(7))
        'crm.customers__r0007'
        """
        return Relation(self.schema, f"{self.name}__r{number:04d}")

    def __str__(self) -> str:
        """The text that `parse` reads."""
        return f"{_shown(self.schema)}.{_shown(self.name)}"


def identifier(name: str) -> str:
    """A quoted SQL identifier.

    >>> print(identifier('say "hi" twice'))
    "say ""hi"" twice"
    """
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted SQL string, for the statements that cannot bind values.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def _unquoted(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def _shown(name: str) -> str:
    return identifier(name) if "." in name or '"' in name else name


def _path_part(name: str) -> str:
    return _UNSAFE_IN_PATHS.sub(lambda match: f"%{ord(match[0]):02X}", name)
