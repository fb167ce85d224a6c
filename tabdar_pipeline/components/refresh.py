"""What YAML says of a refresh: which ways are allowed, and what drift each of them may leave."""

from typing import Annotated, Literal

import dagster as dg
from pydantic import Field, model_validator

from tabdar_pipeline.release.refresh import RefreshPolicy, Steps, Way

_SAFE = RefreshPolicy()


class _Rising(dg.Model, dg.Resolvable):
    """Limits that rise from one way to the next."""

    skip: float
    sample: float
    warm: float

    def resolved(self) -> Steps:
        """As the release room knows them."""
        return Steps(self.skip, self.sample, self.warm)

    @model_validator(mode="after")
    def _in_order(self) -> "_Rising":
        if not self.skip <= self.sample <= self.warm:
            raise ValueError(f"refresh: limits must rise from skip to sample to warm, however: {self}")
        return self


class ColumnDrift(_Rising):
    """The drift of the worst column, in percent points beyond what two halves of one state show."""

    skip: Annotated[float, Field(ge=0, le=100, description="Up to here the release stays.")] = (
        _SAFE.columns.skip
    )
    sample: Annotated[
        float, Field(ge=0, le=100, description="Up to here rows are drawn anew from the same model.")
    ] = _SAFE.columns.sample
    warm: Annotated[
        float, Field(ge=0, le=100, description="Up to here a short fit begins with the same model.")
    ] = _SAFE.columns.warm


class JointDrift(_Rising):
    """The drift of all columns together: the AUC of trees that tell new rows from old ones, beyond chance."""

    skip: Annotated[float, Field(ge=0, le=0.5, description="Up to here the release stays.")] = (
        _SAFE.joint.skip
    )
    sample: Annotated[
        float, Field(ge=0, le=0.5, description="Up to here rows are drawn anew from the same model.")
    ] = _SAFE.joint.sample
    warm: Annotated[
        float, Field(ge=0, le=0.5, description="Up to here a short fit begins with the same model.")
    ] = _SAFE.joint.warm


class Refresh(dg.Model, dg.Resolvable):
    """What a refresh does with a source that has something new."""

    allow: Annotated[
        list[Literal["skip", "sample", "warm"]],
        Field(description="Ways that may be gone beside a fit from nothing; `[]` fits each time."),
    ] = ["skip", "sample", "warm"]
    columns: Annotated[ColumnDrift, Field(description="Limits on the drift of the worst column.")] = (
        ColumnDrift()
    )
    joint: Annotated[JointDrift, Field(description="Limits on the drift of all columns together.")] = (
        JointDrift()
    )
    rows: Annotated[
        float, Field(ge=0, description="Share by which the number of rows may change and the release stay.")
    ] = _SAFE.rows
    budget: Annotated[
        float, Field(gt=0, le=1, description="Share of the training budget that a warm start takes.")
    ] = _SAFE.budget

    def resolved(self) -> RefreshPolicy:
        """As the release room knows it."""
        ways = tuple(Way(way) for way in self.allow)
        return RefreshPolicy(ways, self.columns.resolved(), self.joint.resolved(), self.rows, self.budget)
