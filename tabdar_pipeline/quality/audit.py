"""The privacy audit: what each attack gains from the synthetic table, with intervals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tabdar_pipeline.quality.attacks.inference import inference
from tabdar_pipeline.quality.attacks.likelihood import Known, likelihood
from tabdar_pipeline.quality.attacks.linkability import linkability
from tabdar_pipeline.quality.attacks.membership import distance_ratio, membership
from tabdar_pipeline.quality.attacks.near_copies import near_copies
from tabdar_pipeline.quality.attacks.risk import Rate, Risk
from tabdar_pipeline.quality.attacks.sides import Sides
from tabdar_pipeline.quality.attacks.singling_out import singling_out
from tabdar_pipeline.quality.plain import Plain

Attack = Callable[[Sides, np.random.Generator], Risk]
ATTACKS: Mapping[str, Attack] = {
    "near_copies": near_copies,
    "distance_ratio": distance_ratio,
    "singling_out": singling_out,
    "linkability": linkability,
    "membership": membership,
}
NAMES = (*ATTACKS, "inference")  # of the attacks on any table
LIKELIHOOD = "likelihood"  # of the one on the model that drew it


@dataclass(frozen=True, slots=True)
class Audit:
    """Risks by attack; of attribute inference by secret column, the worst of which stands for all."""

    risks: Mapping[str, Risk]
    secrets: Mapping[str, Risk]
    rows: Mapping[str, int]  # that were attacked and looked at

    @property
    def intervals(self) -> dict[str, list[float]]:
        """Both ends of each risk, of which policy and figures look at the lower."""
        return {name: [risk.low, risk.high] for name, risk in self.risks.items()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The audit that `dataclasses.asdict` wrote."""
        risks, secrets = (
            {name: Risk.from_json(it) for name, it in record[part].items()} for part in ("risks", "secrets")
        )
        return cls(risks, secrets, record["rows"])


def audit(
    train: Plain,
    holdout: Plain,
    synthetic: Plain,
    rng: np.random.Generator,
    tell: Callable[[str, float], None],
    model: tuple[Known, Known] | None = None,
) -> Audit:
    """Run every attack; bounded, so that it takes seconds at any size.

    `model`: what the model that drew the table knows of training rows and of the holdout, where it is at hand.
    """
    sides = Sides.of(train, holdout, synthetic)
    risks = {}
    for i, (name, attack) in enumerate(ATTACKS.items()):
        tell(name, i / len(NAMES))
        risks[name] = attack(sides, rng)
    tell("inference", 1 - 1 / len(NAMES))
    secrets = inference(sides, rng)
    nothing = Risk.of(*[Rate.of(0, 0)] * 3)
    risks["inference"] = max(secrets.values(), key=lambda risk: risk.low, default=nothing)
    if model is not None:
        tell(LIKELIHOOD, 1.0)
        risks[LIKELIHOOD] = likelihood(*model, rng)
    rows = {"train": len(sides.train), "holdout": len(sides.holdout), "synthetic": len(synthetic)}
    return Audit(risks, secrets, rows)
