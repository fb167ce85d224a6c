"""What a table must satisfy to be released: thresholds relative to what fresh real rows score.

The floor of a figure is the figure of the holdout: real rows that the model never saw. No honest
table does better but by luck, so a limit says how far from the floor a release may be, and one
default serves every table.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.quality.figures import Figures
from tabdar_pipeline.schemas.suite import Limit


@dataclass(frozen=True, slots=True)
class ReleasePolicy:
    """How far from the floor each figure may be."""

    shape_error: float = 3.0  # percent points above the floor
    trend_error: float = 4.0  # percent points above the floor
    c2st_boosted: float = 0.40  # AUC above the floor; 0.5 above is told apart always
    utility_gap: float = 0.08  # AUC or R2 below the floor
    dcr_share: float = 0.04  # above 0.5: nearer to the rows it learned from than to fresh ones
    copies: float = 0.01  # share of rows above the holdout's own share of copies
    off_support: float = 0.0  # share of rows with a value that the source cannot have

    def __post_init__(self) -> None:
        """Refuse thresholds that mean nothing."""
        for name, value in asdict(self).items():
            if not 0 <= value <= 100:
                raise UsageError(f"policy.{name} must be 0 to 100, however: {value}. Correct it.")

    def limits(self, figures: Figures) -> tuple[Limit, ...]:
        """The limits of these figures, each beside its floor."""
        rules: Mapping[str, tuple[float, str]] = {
            "shape_error": (self.shape_error, "single columns like the source's"),
            "trend_error": (self.trend_error, "pairs of columns like the source's"),
            "c2st_boosted": (self.c2st_boosted, "rows that boosted trees do not tell from real ones"),
            "copies": (self.copies, "no more copies of real rows than fresh real rows hold"),
            "off_support": (self.off_support, "no value that the source cannot have"),
        }
        above = [
            Limit(name, None, _floor(figures, name) + margin, reason)
            for name, (margin, reason) in rules.items()
            if name in figures.values
        ]
        if "dcr_share" in figures.values:
            above.append(Limit("dcr_share", None, 0.5 + self.dcr_share, "no memory of single rows"))
        if "utility" in figures.values:
            least = figures.floor["utility"] - self.utility_gap
            above.append(Limit("utility", least, None, "models trained on it work on real rows"))
        return tuple(above)


def _floor(figures: Figures, name: str) -> float:
    """Off-support is absolute: real rows may have new values, made-up ones may not."""
    return 0.0 if name == "off_support" else figures.floor[name]


def policy_to_json(policy: ReleasePolicy) -> dict[str, Any]:
    """Plain values."""
    return asdict(policy)
