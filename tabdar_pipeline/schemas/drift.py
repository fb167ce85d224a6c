"""How a table has drifted from its contract: a diff that a person can read.

Compatible: the contract can be widened (a new level, a wider range, NULLs). All else needs a person.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from tabdar_pipeline.schemas.columns import Column, Kind
from tabdar_pipeline.schemas.constraints import codes
from tabdar_pipeline.schemas.contract import Contract, Rules

NAMED = 5  # levels that are spelled out


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as the contract has it."""

    column: str
    what: str
    compatible: bool

    @property
    def line(self) -> str:
        """For a person.

        >>> Difference("age", "maximum is 95, was 90", compatible=True).line.strip()
        'age: maximum is 95, was 90'
        """
        return f"{'  ' if self.compatible else '! '}{self.column}: {self.what}"


def differences(contract: Contract, table: pa.Table) -> tuple[Difference, ...]:
    """What changed, column by column, then constraint by constraint."""
    return (*_columns(contract, table), *_constraints(contract, table))


def _columns(contract: Contract, table: pa.Table) -> Iterator[Difference]:
    for column in contract.schema.columns:
        if column.name not in table.column_names:
            yield Difference(column.name, "is gone", compatible=False)
            continue
        kind = str(table.schema.field(column.name).type)
        if kind != column.arrow_type:
            yield Difference(column.name, f"type is {kind}, was {column.arrow_type}", compatible=False)
            continue
        yield from _cells(column, contract.rules.get(column.name, Rules()), table)
    for name in table.column_names:
        if name not in contract.schema.names:
            kind = str(table.schema.field(name).type)
            yield Difference(name, f"is new, of type {kind}", compatible=False)


def _cells(column: Column, was: Rules, table: pa.Table) -> Iterator[Difference]:
    """What changed within a column."""
    values = table[column.name]
    if values.null_count and not column.nullable:
        yield Difference(column.name, f"{values.null_count:,} cells are NULL, none were", compatible=True)
    now = Rules.seen(column, values)
    if column.kind in (Kind.NUMBER, Kind.DATETIME):
        broken = {v.check for v in Contract.of(column, was).validate(table.select([column.name]))}
        for word, old, new in (("minimum", was.minimum, now.minimum), ("maximum", was.maximum, now.maximum)):
            if f"{word} {old}" in broken:
                yield Difference(column.name, f"{word} is {new}, was {old}", compatible=True)
    if was.allowed is not None:
        fresh = sorted(Rules.levels(values) - set(was.allowed))
        if fresh:
            more = f" and {len(fresh) - NAMED:,} more" if len(fresh) > NAMED else ""
            names = ", ".join(map(repr, fresh[:NAMED]))
            yield Difference(column.name, f"new levels {names}{more}", compatible=True)
    if was.unique and len(values) - values.null_count > codes(values).max(initial=-1) + 1:
        yield Difference(column.name, "values occur more than once, each was unique", compatible=False)


def _constraints(contract: Contract, table: pa.Table) -> Iterator[Difference]:
    for constraint in contract.constraints:
        if set(constraint.columns) <= set(table.column_names):
            rows = int(constraint.broken(table).sum())
            if rows:
                what = f"{constraint.sentence} is broken by {rows:,} rows"
                yield Difference(constraint.columns[-1], what, compatible=True)
