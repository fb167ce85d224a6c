"""May this table leave the building? Figures against policy, rows against contract."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Self

from tabdar_pipeline.quality.figures import Figures
from tabdar_pipeline.schemas.suite import Limit, SuiteResult


@dataclass(frozen=True, slots=True)
class Decision:
    """Accepted or refused, with the reasons of a refusal."""

    passed: bool
    reasons: tuple[str, ...]
    limits: tuple[Limit, ...]

    @property
    def ceilings(self) -> dict[str, float]:
        """What each figure must not exceed, where it has such a limit."""
        return {limit.figure: limit.maximum for limit in self.limits if limit.maximum is not None}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The decision that `to_json` wrote."""
        limits = tuple(Limit(**limit) for limit in record["limits"])
        return cls(record["passed"], tuple(record["reasons"]), limits)


def decide(figures: Figures, limits: tuple[Limit, ...], suite: SuiteResult | None = None) -> Decision:
    """Refuse where a limit is broken, a figure is no number, or an expectation of the suite fails."""
    broken = {limit.figure: limit for limit in limits if not _holds(limit, figures)}
    reasons = [_reason(limit, figures) for limit in broken.values()]
    reasons += [
        f"expectation {it.expectation} on {it.column or 'the table'} failed: {it.observed}"
        for it in (suite.expectations if suite else ())
        if not it.success and it.column not in broken
    ]
    return Decision(not reasons, tuple(reasons), limits)


def _holds(limit: Limit, figures: Figures) -> bool:
    return isfinite(figures.values[limit.figure]) and limit.holds(figures.values)


def _reason(limit: Limit, figures: Figures) -> str:
    bounds = (("at least", limit.minimum), ("at most", limit.maximum))
    bound = " and ".join(f"{word} {end:.4g}" for word, end in bounds if end is not None)
    floor = figures.floor.get(limit.figure)
    beside = f" (floor {floor:.4g})" if floor is not None else ""
    return (
        f"{limit.figure} must be {bound}, however it is {figures.values[limit.figure]:.4g}{beside}: "
        f"{limit.reason}"
    )
