"""May this table leave the building? Figures against policy, rows against contract."""

from dataclasses import asdict, dataclass
from typing import Any

from tabdar_pipeline.quality.figures import Figures
from tabdar_pipeline.schemas.suite import Limit, SuiteResult


@dataclass(frozen=True, slots=True)
class Decision:
    """Accepted or refused, with the reasons of a refusal."""

    passed: bool
    reasons: tuple[str, ...]
    limits: tuple[Limit, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def decide(figures: Figures, limits: tuple[Limit, ...], suite: SuiteResult) -> Decision:
    """Refuse where a limit is broken or an expectation of the suite fails."""
    reasons = [_reason(limit, figures) for limit in limits if not limit.holds(figures.values)]
    reasons += [
        f"expectation {it.expectation} on {it.column or 'the table'} failed: {it.observed}"
        for it in suite.expectations
        if not it.success and it.column not in {limit.figure for limit in limits}
    ]
    return Decision(not reasons, tuple(reasons), limits)


def _reason(limit: Limit, figures: Figures) -> str:
    bound = f"at most {limit.maximum:.4g}" if limit.maximum is not None else f"at least {limit.minimum:.4g}"
    floor = figures.floor.get(limit.figure)
    beside = f" (floor {floor:.4g})" if floor is not None else ""
    return (
        f"{limit.figure} must be {bound}, however it is {figures.values[limit.figure]:.4g}{beside}: "
        f"{limit.reason}"
    )
