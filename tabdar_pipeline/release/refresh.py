"""How much of the way from source to release is gone again: what is new demands it, the policy limits it.

Each fact demands a way. The farthest of them is taken, or the next one that the policy allows. Drift is stated
beyond its floor, which is what two random halves of one and the same state show, so that one default serves tables
of every size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.quality.drift import Drift


class Way(StrEnum):
    """From source to release, the shortest first."""

    SKIP = "skip"  # the release stays as it is
    SAMPLE = "sample"  # rows are drawn anew from the same model, and judged beside the new source
    WARM = "warm"  # a short fit begins with the same model
    FIT = "fit"  # a model is fitted from nothing

    @property
    def rank(self) -> int:
        """How far it goes."""
        return list(Way).index(self)


@dataclass(frozen=True, slots=True)
class Steps:
    """The drift up to which each way will do; beyond the last a model is fitted from nothing."""

    skip: float
    sample: float
    warm: float

    def __post_init__(self) -> None:
        """Refuse limits that are out of order."""
        if not 0 <= self.skip <= self.sample <= self.warm:
            raise UsageError(
                "refresh: limits must rise from skip to sample to warm, however they are "
                f"{self.skip:g}, {self.sample:g} and {self.warm:g}. Correct them."
            )

    def way(self, drift: float) -> Way:
        """The shortest way whose limit holds.

        >>> Steps(0.5, 1.5, 15.0).way(1.0)
        <Way.SAMPLE: 'sample'>
        """
        for way, most in ((Way.SKIP, self.skip), (Way.SAMPLE, self.sample), (Way.WARM, self.warm)):
            if drift <= most:
                return way
        return Way.FIT


@dataclass(frozen=True, slots=True)
class RefreshPolicy:
    """Which ways are allowed, and what drift each of them may leave."""

    allow: tuple[Way, ...] = (Way.SKIP, Way.SAMPLE, Way.WARM)
    columns: Steps = field(default_factory=lambda: Steps(0.5, 1.5, 20.0))  # percent points, worst column
    joint: Steps = field(default_factory=lambda: Steps(0.01, 0.02, 0.1))  # AUC of trees telling old from new
    rows: float = 0.1  # the number of rows may change by this share before they are drawn anew
    budget: float = 0.2  # of a fit, for a warm start

    def allowed(self, way: Way) -> Way:
        """The way itself, or the next that is allowed; to fit from nothing always is."""
        return next((w for w in Way if w.rank >= way.rank and w in self.allow), Way.FIT)


@dataclass(frozen=True, slots=True)
class Demand:
    """One fact, and the way that it demands at least."""

    way: Way
    fact: str


@dataclass(frozen=True, slots=True)
class Refresh:
    """The way that is gone, and why."""

    way: Way
    reasons: tuple[str, ...]
    drift: Drift | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the manifest."""
        return asdict(self)


def settle(policy: RefreshPolicy, demands: Sequence[Demand], drift: Drift | None, otherwise: str) -> Refresh:
    """The farthest way that is demanded, with the facts that do; `otherwise` is the reason where none does."""
    wanted = max((it.way for it in demands), key=lambda way: way.rank, default=Way.SKIP)
    way = policy.allowed(wanted)
    reasons = [it.fact for it in demands if it.way is wanted] or [otherwise]
    if way is not wanted:
        reasons.append(f"the policy does not allow to {_VERBS[wanted]}")
    return Refresh(way, tuple(reasons), drift)


def drifted(policy: RefreshPolicy, drift: Drift) -> Iterator[Demand]:
    """What the figures demand."""
    name, most = next(iter(drift.beyond.items()), ("", 0.0))
    yield Demand(
        policy.columns.way(most),
        f"column {name!r} has drifted by {most:.2f} percent points more than chance "
        f"({drift.columns.get(name, 0.0):.2f}, by chance up to {drift.columns_floor.get(name, 0.0):.2f})",
    )
    yield Demand(
        policy.joint.way(drift.joint_beyond),
        f"trees tell new rows from old ones with an AUC {drift.joint_beyond:.3f} above chance "
        f"({drift.joint:.3f}, by chance up to {drift.joint_floor:.3f})",
    )


def grown(policy: RefreshPolicy, before: int, after: int) -> Iterator[Demand]:
    """What the number of rows demands, where a release has as many as its source."""
    if abs(after - before) > policy.rows * before:
        yield Demand(Way.SAMPLE, f"the source has {after:,} rows, and had {before:,}")


_VERBS = {
    Way.SKIP: "keep the release",
    Way.SAMPLE: "sample from the same model",
    Way.WARM: "begin with the same model",
    Way.FIT: "fit",
}
