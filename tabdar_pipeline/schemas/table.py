"""What a table is: its columns in order, and a fingerprint of them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self, get_args

from tabdar_pipeline.errors import SourceError, UsageError
from tabdar_pipeline.schemas.columns import Column, Kind, Privacy


@dataclass(frozen=True, slots=True)
class TableSchema:
    """The columns of one table, in the order of the table.

    >>> column = Column("age", Kind.NUMBER, "int64", "BIGINT", nullable=False)
    >>> schema = TableSchema("crm.customers", (column,))
    >>> TableSchema.from_json(schema.to_json()) == schema
    True
    """

    name: str
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        """Refuse a privacy or a reference that means nothing."""
        for column in self.columns:
            wrong = _privacy_wrong(column) or _reference_wrong(column)
            if wrong:
                raise UsageError(f"table {self.name!r}, column {column.name!r}: {wrong}")

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in the order of the table."""
        return tuple(column.name for column in self.columns)

    @property
    def modelled(self) -> tuple[Column, ...]:
        """The columns for which the network has a token."""
        return tuple(column for column in self.columns if column.modelled)

    @property
    def references(self) -> dict[str, str]:
        """What each foreign key refers to: schema.table.column of the source."""
        return {column.name: column.references for column in self.columns if column.references is not None}

    def refuse_few(self, rows: int) -> None:
        """Raise SourceError where there are fewer rows than columns to learn: their dependence would be chance."""
        if rows < len(self.modelled):
            raise SourceError(
                f"table {self.name!r} must have at least as many rows as columns to learn from, however it has "
                f"{rows:,} rows and {len(self.modelled):,} columns. Add rows, or leave columns out."
            )

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names, kinds, types, references and what is said of privacy; reasons do not count."""
        facts = [
            [c.name, c.kind, c.arrow_type, c.sql_type, c.nullable, *_privacy_said(c), *_referred(c)]
            for c in self.columns
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def __getitem__(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for JSON and YAML."""
        return {"name": self.name, "columns": [asdict(column) for column in self.columns]}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The schema that `to_json` wrote."""
        columns = tuple(Column(**{**c, "kind": Kind(c["kind"])}) for c in record["columns"])
        return cls(record["name"], columns)


def _privacy_said(column: Column) -> list[Any]:
    """Nothing where it is the default, so that older fingerprints hold."""
    said = [column.privacy, column.rare]
    return [] if said == ["protect", None] else said


def _referred(column: Column) -> list[str]:
    return [] if column.references is None else [column.references]


def _reference_wrong(column: Column) -> str:
    """What a column says of another table and cannot mean, or nothing."""
    if (column.kind is Kind.FOREIGN_KEY) != (column.references is not None):
        return (
            f"a foreign_key, and no other kind, must say what it references, however it is a {column.kind} "
            f"and references {column.references!r}. Write references: schema.table.column, or drop it."
        )
    return ""


def _privacy_wrong(column: Column) -> str:
    """What a column says of privacy and cannot have, or nothing."""
    if column.privacy not in get_args(Privacy):
        return (
            f"privacy must be one of {', '.join(get_args(Privacy))}, however it is {column.privacy!r}. "
            "Correct it."
        )
    if column.privacy == "public" and column.kind in (Kind.KEY, Kind.TEXT, Kind.FOREIGN_KEY):
        return (
            f"privacy can be public only where values are learned, however a {column.kind} is made anew "
            "and no real one is kept. Drop `privacy`, or make the column a category."
        )
    if column.rare is None:
        return ""
    if column.privacy == "public":
        return f"rare must not be given where privacy is public, however it is {column.rare!r}. Drop one."
    if not isinstance(column.rare, int) or isinstance(column.rare, bool) or column.rare < 2:
        return (
            f"rare must be a whole number of at least 2 rows, however it is {column.rare!r}. "
            "Raise it, or say `privacy: public`."
        )
    return ""
