"""What a table or view holds, as a manifest records it: columns by name and type, in order, and a hash of the rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from tabdar_pipeline.warehouse.catalog import types_of
from tabdar_pipeline.warehouse.digest import rows_hash
from tabdar_pipeline.warehouse.duckdb import Connection


@dataclass(frozen=True, slots=True)
class Contents:
    """The same contents are the same record."""

    columns: tuple[tuple[str, str], ...] | None  # name and type; None where a manifest of before does not say
    rows_hash: str

    @classmethod
    def of(cls, connection: Connection, query: str) -> Self:
        """What a query gives now."""
        return cls(tuple(types_of(connection, query).items()), rows_hash(connection, query))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """What a manifest says."""
        columns = record.get("columns")
        pairs = None if columns is None else tuple((it["name"], it["type"]) for it in columns)
        return cls(pairs, record["rows_hash"])

    def to_json(self) -> dict[str, Any]:
        """Plain values; a list, as the order of columns counts."""
        columns = [{"name": name, "type": kind} for name, kind in self.columns or ()]
        return {"columns": columns, "rows_hash": self.rows_hash}

    def difference(self, now: "Contents") -> str | None:
        """What has changed since, in a few words; None where nothing has."""
        if self.columns is not None and self.columns != now.columns:
            return f"has other columns than were published: {_written(now)}, were {_written(self)}"
        if self.rows_hash != now.rows_hash:
            return f"has other rows than were published: hash {now.rows_hash}"
        return None


def _written(it: Contents) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in it.columns or ())
