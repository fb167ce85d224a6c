"""What one column of a table is: its kind, its types, whether it may be missing."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

# protect: levels that few rows share are not learned, extreme numbers are clipped. public: the
# column gives no one away, and comes back as it is.
Privacy = Literal["protect", "public"]


class Kind(StrEnum):
    """How a column is synthesised."""

    NUMBER = "number"  # integers, floats, decimals: quantile codec, nested diffusion
    DATETIME = "datetime"  # dates and times: numbers on a grid of days, seconds, ...
    CATEGORY = "category"  # strings, enums, booleans, codes: a vocabulary
    KEY = "key"  # unique identifiers: regenerated in the same pattern, never modelled
    FOREIGN_KEY = "foreign_key"  # keys of another table: drawn from its release, never modelled
    TEXT = "text"  # free strings: pattern-preserving fakes, never modelled
    CONSTANT = "constant"  # one value, or all missing: reproduced
    LEAVE_OUT = "leave_out"  # held against the contract, neither learned nor released; a person says so


MODELLED = frozenset({Kind.NUMBER, Kind.DATETIME, Kind.CATEGORY})


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what it is called, how it is synthesised, how it is stored.

    >>> Column("age", Kind.NUMBER, "int64", "BIGINT", nullable=False).modelled
    True
    """

    name: str
    kind: Kind
    arrow_type: str  # str() of the pyarrow type: "int64", "decimal128(12, 2)", "date32[day]"
    sql_type: str  # as DuckDB describes it: "BIGINT", "DECIMAL(12,2)", "ENUM('a', 'b')"
    nullable: bool
    reason: str = ""  # why this kind was inferred, for a person
    privacy: Privacy = "protect"
    rare: int | None = None  # rows that must share a value of a protected column; 5 where not given
    references: str | None = None  # of a foreign key: schema.table.column of the table that is referred to

    @property
    def modelled(self) -> bool:
        """Whether the network has a token for it."""
        return self.kind in MODELLED
