"""What YAML says of partitions: listed values of a column, or windows of time, and who learns them."""

import datetime as dt
from typing import Annotated, Literal

import dagster as dg
from pydantic import Field, model_validator

from tabdar_pipeline.schemas.partitions import Partitioning


class Partitions(dg.Model, dg.Resolvable):
    """A release for each partition of the source, under one view."""

    column: Annotated[str, Field(description="The column that says in which partition a row is; never NULL.")]
    values: Annotated[
        list[str | int | bool] | None,
        Field(
            min_length=1,
            description="The values that have a partition each; rows of other values are learned only.",
        ),
    ] = None
    every: Annotated[
        Literal["day", "week", "month"] | None,
        Field(description="Windows of time instead, of a date or timestamp (UTC); each once it has ended."),
    ] = None
    start: Annotated[
        str | None,
        Field(description="First day of the first window, as 2024-01-01; months begin on the first."),
    ] = None
    models: Annotated[
        Literal["one", "each"],
        Field(
            description="one: a model learns all rows, and is asked for those of a partition. each: a model each."
        ),
    ] = "one"

    @model_validator(mode="after")
    def _values_or_windows(self) -> "Partitions":
        if (self.values is None) == (self.every is None):
            raise ValueError("partitions: give values, or every and start")
        if (self.every is None) != (self.start is None):
            raise ValueError("partitions: start goes with every, and every with start")
        if self.values is not None and len(set(self._keys())) != len(self.values):
            raise ValueError(f"partitions: values must differ, however: {self.values}")
        if "" in self._keys():
            raise ValueError("partitions: a value must have characters, however one is empty; leave it out")
        self._first()
        return self

    def resolved(self) -> Partitioning:
        """As the schemas room knows it."""
        return Partitioning(self.column, self._keys(), self.every, self._first(), self.models == "each")

    def _keys(self) -> tuple[str, ...]:
        return tuple(str(it).lower() if isinstance(it, bool) else str(it) for it in self.values or ())

    def _first(self) -> dt.date:
        if self.start is None:
            return dt.date.min
        try:
            first = dt.date.fromisoformat(self.start)
        except ValueError as error:
            raise ValueError(
                f"partitions: start must be a day as 2024-01-01, however: {self.start!r}"
            ) from error
        if self.every == "month" and first.day != 1:
            raise ValueError(f"partitions: months must start on the first, however: {self.start}")
        return first
