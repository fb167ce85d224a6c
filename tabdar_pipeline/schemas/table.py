"""What a table is: its columns in order, and a fingerprint of them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from tabdar_pipeline.schemas.columns import Column, Kind


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

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in the order of the table."""
        return tuple(column.name for column in self.columns)

    @property
    def modelled(self) -> tuple[Column, ...]:
        """The columns for which the network has a token."""
        return tuple(column for column in self.columns if column.modelled)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names, kinds and types; reasons do not count."""
        facts = [[c.name, c.kind, c.arrow_type, c.sql_type, c.nullable] for c in self.columns]
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
