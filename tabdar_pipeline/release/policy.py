"""What a table must satisfy to be released: thresholds relative to what fresh real rows score.

The floor of a figure is the figure of the holdout: real rows that the model never saw. No honest
table does better but by luck, so a threshold says how far from the floor a release may be, and one
default serves every table. Shares of few rows are uncertain: the limit on copies is never tighter than
three standard errors, and that on nearness is three wider than what the share itself may be, so that
chance alone refuses no small table. A risk of the
privacy audit has the same attack on unseen rows as its floor already; its limit binds the lower end
of its interval, so that what is refused is a leak beyond doubt.
"""

from dataclasses import asdict, dataclass
from math import isfinite, sqrt

from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.quality import audit
from tabdar_pipeline.quality.figures import NEIGHBOURS, Figures
from tabdar_pipeline.schemas.suite import Limit

_SPREAD = 3.0  # standard errors
_ATTACKS = {  # why the lower end of the risk of each attack is bound
    "near_copies": "no training rows with a little noise",
    "distance_ratio": "no row that stands for one training row",
    "singling_out": "no description that fits one person because they were learned",
    "linkability": "no bridge between two halves of what is known of a person",
    "membership": "no telling who was learned",
    "inference": "nothing told of a person that does not hold for everyone like them",
    "likelihood": "no model that knows its own rows far better than others",
}

# The largest that still means something, by threshold: beyond it nothing is ever refused.
_MOST = {
    "shape_error": 100.0,
    "trend_error": 100.0,
    "c2st_boosted": 0.5,
    "utility_gap": 1.0,
    "dcr_share": 0.5,
    "copies": 1.0,
    "off_support": 1.0,
    **dict.fromkeys((*audit.NAMES, audit.LIKELIHOOD), 1.0),
}


@dataclass(frozen=True, slots=True)
class ReleasePolicy:
    """How far from the floor each figure may be.

    The defaults accept what a minute or two of training makes of a table of some thousand rows,
    and refuse columns drawn one by one, rows with noise, and copies.
    """

    shape_error: float = 3.0  # percent points above the floor
    trend_error: float = 4.0  # percent points above the floor
    c2st_boosted: float = 0.40  # AUC above the floor; 0.5 above is told apart always
    utility_gap: float = 0.08  # AUC or R2 below the floor
    dcr_share: float = 0.04  # above 0.5 and chance: nearer to the rows it learned from than to fresh ones
    copies: float = 0.01  # share of rows above the holdout's own share of copies
    off_support: float = 0.0  # share of rows with a value that the source cannot have
    near_copies: float = 0.02  # share of rows that are a training row with a little noise, at least
    distance_ratio: float = 0.1  # risk at least, of telling a learned row by its neighbours
    singling_out: float = 0.1  # risk at least, of describing one training row alone
    linkability: float = 0.1  # risk at least, of joining two halves of a training row
    membership: float = 0.1  # risk at least, of telling that a row was learned
    inference: float = 0.1  # risk at least, of telling a training row's column from its others
    likelihood: float = 0.4  # risk at least, of telling from the model itself that a row was learned

    def __post_init__(self) -> None:
        """Refuse thresholds that mean nothing."""
        for name, value in asdict(self).items():
            if not 0 <= value <= _MOST[name]:
                raise UsageError(f"policy.{name} must be 0 to {_MOST[name]:g}, however: {value}. Correct it.")

    def limits(self, figures: Figures) -> tuple[Limit, ...]:
        """The limits of these figures, each beside its floor; none for a figure that was not measured."""
        found = [Limit(name, None, most, reason) for name, most, reason in self._ceilings(figures)]
        if isfinite(figures.floor.get("utility", float("nan"))):
            least = figures.floor["utility"] - self.utility_gap
            found.append(Limit("utility", least, None, "models trained on it work on real rows"))
        return tuple(limit for limit in found if limit.figure in figures.values)

    def _ceilings(self, figures: Figures) -> tuple[tuple[str, float, str], ...]:
        """Figure, most, reason. Off-support is absolute: real rows may have new values, made-up ones not."""
        floor = {**dict.fromkeys(_MOST, 0.0), **figures.floor}
        rows = figures.rows["compared"]
        near = self.dcr_share + _error(0.5, min(rows, NEIGHBOURS))
        copies = max(self.copies, sqrt(2) * _error(floor["copies"], rows))
        return (
            ("shape_error", floor["shape_error"] + self.shape_error, "single columns like the source's"),
            ("trend_error", floor["trend_error"] + self.trend_error, "pairs of columns like the source's"),
            ("c2st_boosted", floor["c2st_boosted"] + self.c2st_boosted, "rows that trees take for real ones"),
            ("copies", floor["copies"] + copies, "no more copies of real rows than fresh real rows hold"),
            ("off_support", self.off_support, "no value that the source cannot have"),
            ("dcr_share", min(0.5 + near, 1.0), "no memory of single rows"),
            *((name, getattr(self, name), reason) for name, reason in _ATTACKS.items()),
        )


def _error(share: float, rows: int) -> float:
    """Three standard errors of a share of so many rows.

    >>> round(_error(0.5, 900), 3)
    0.05
    """
    return _SPREAD * sqrt(share * (1 - share) / rows) if rows else 0.0
