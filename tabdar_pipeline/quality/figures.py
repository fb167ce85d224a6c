"""The figures of a synthetic table, each beside its floor: what fresh real rows score."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.quality import detection, fidelity, privacy
from tabdar_pipeline.quality.attacks.likelihood import Known
from tabdar_pipeline.quality.audit import Audit, audit
from tabdar_pipeline.quality.plain import Plain, plain
from tabdar_pipeline.quality.utility import utility
from tabdar_pipeline.schemas.table import TableSchema

ROWS = 20_000  # compared at most; more rows change no decision
NEIGHBOURS = 4_000  # rows of nearest-neighbour figures
_AUDIT = 1  # stream of the audit's random numbers

Progress = Callable[[str, float], None]
Losses = Callable[[pa.Table], NDArray[np.floating]]  # (N,) how badly a model knows each row


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures by name, their floors, and where the single columns and pairs stand."""

    values: Mapping[str, float]
    floor: Mapping[str, float]
    by_column: Mapping[str, float]  # shape error in percent
    pairs: tuple[tuple[float | None, ...], ...]  # (C, C) pair errors in percent
    columns: tuple[str, ...]  # of the pairs
    rows: Mapping[str, int]
    target: str | None
    seed: int
    audit: Audit | None = None  # the attacks behind the figures of privacy

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The figures that `to_json` wrote."""
        pairs = tuple(tuple(row) for row in record["pairs"])
        attacks = Audit.from_json(record["audit"]) if record.get("audit") else None
        return cls(**{**record, "pairs": pairs, "columns": tuple(record["columns"]), "audit": attacks})


def evaluate(
    train: pa.Table,
    holdout: pa.Table,
    synthetic: pa.Table,
    schema: TableSchema,
    *,
    target: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    learned: pa.Table | None = None,
    losses: Losses | None = None,
) -> Figures:
    """Compare at equal sizes, seeded and subsampled, so that it takes seconds at any size.

    `learned`: all rows that the model learned, where `train` is a part of them; what they have, any row may.
    `losses`: of the model that drew the synthetic table, which is then attacked as well.
    """
    names = [column.name for column in schema.modelled]
    if target is not None and target not in names:
        raise UsageError(
            f"target must be a modelled column ({', '.join(map(repr, names))}), however: {target!r}."
        )
    rng = np.random.default_rng(seed)
    a, b, s, *wider = plain([train, holdout, synthetic, *([] if learned is None else [learned])], schema)
    size = min(len(b), len(s), ROWS)
    real, fresh, made = a.sample(ROWS, rng), b.sample(size, rng), s.sample(size, rng)
    tell = progress or (lambda _name, _share: None)
    floor = _figures(real, fresh, a, seed, lambda n, x: tell(f"floor {n}", x / 3))
    values = _figures(real, made, a, seed, lambda n, x: tell(n, (1 + x) / 3))
    floor["off_support"], values["off_support"] = (
        privacy.off_support(wider[0] if wider else a, it) for it in (fresh, made)
    )
    floor["copies"] = privacy.twins(a)  # equal rows fall on one side of the split
    floor["dcr_share"] = 0.5
    pools = a.sample(10 * NEIGHBOURS, rng), b.sample(10 * NEIGHBOURS, rng)
    values["dcr_share"] = privacy.dcr_share(*pools, made.sample(NEIGHBOURS // 2, rng))
    if target is not None:
        tell("utility", 1.0)
        floor["utility"] = utility(real.sample(size, rng), b, target, seed)
        values["utility"] = utility(made, b, target, seed)
    model = None if losses is None else (_known(a, train, losses), _known(b, holdout, losses))
    attacks = audit(a, b, s, np.random.default_rng([seed, _AUDIT]), lambda n, x: tell(n, (2 + x) / 3), model)
    values |= {name: risk.low for name, risk in attacks.risks.items()}
    floor |= dict.fromkeys(attacks.risks, 0.0)
    pairs = fidelity.pair_errors(real, made)
    return Figures(
        values,
        floor,
        fidelity.shape_errors(real, made),
        tuple(tuple(float(e) if np.isfinite(e) else None for e in row) for row in pairs),
        real.names,
        {"train": len(a), "holdout": len(b), "synthetic": len(s), "compared": size},
        target,
        seed,
        attacks,
    )


def _known(rows: Plain, table: pa.Table, losses: Losses) -> Known:
    return Known(rows, lambda places: losses(table.take(pa.array(places))))


def _figures(real: Plain, other: Plain, train: Plain, seed: int, tell: Progress) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    found: dict[str, float] = {}
    tell("shape and trend", 0.0)
    found["shape_error"] = float(np.mean(list(fidelity.shape_errors(real, other).values())))
    found["trend_error"] = fidelity.trend_error(fidelity.pair_errors(real, other))
    found["jsd"] = fidelity.jensen_shannon(real, other)
    tell("precision and recall", 0.2)
    few = min(NEIGHBOURS, len(other), len(real))
    near, beside = real.sample(few, rng), other.sample(few, rng)
    found["alpha_precision"], found["beta_recall"] = fidelity.precision_recall(near, beside)
    tell("detection", 0.4)
    same = real.sample(len(other), rng)
    if min(len(same), len(other)) >= 2 * detection.FOLDS:
        found["c2st_logistic"] = detection.c2st_logistic(same, other, seed)
        found["c2st_boosted"] = detection.c2st_boosted(same, other, seed)
    tell("privacy", 0.9)
    found["copies"] = privacy.copies(train, other)
    tell("done", 1.0)
    return found
