"""What one table's assets are to do: the settings of a component, resolved and plain."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tabdar_pipeline.assets.limits import Limits
from tabdar_pipeline.fitting import FitSettings
from tabdar_pipeline.release.policy import ReleasePolicy
from tabdar_pipeline.release.refresh import RefreshPolicy
from tabdar_pipeline.warehouse.names import Relation
from tabdar_pipeline.warehouse.snapshot import Selection


@dataclass(frozen=True, slots=True)
class Plan:
    """One table from source to release."""

    database: Path
    table: str  # schema.table of the source
    target: str  # schema.table of the release
    selection: Selection
    keys: tuple[str, ...]
    references: Mapping[str, str]  # of foreign keys: schema.table.column
    contract: Path | None
    fit: FitSettings
    rows: int | None  # of the release; as many as the source has where None
    sample_seed: int
    holdout: float  # share of rows that are never trained on
    predict: str | None  # the column whose prediction measures utility
    policy: ReleasePolicy
    storage: Path  # run data of all tables
    folder: Path | None  # parquet copies of releases
    keep: int | None = None  # releases whose rows are kept; all where None
    limits: Limits = field(default_factory=Limits)  # of each step
    upstream: str | None = None  # key of the asset that makes the source, where the project has one
    refresh: RefreshPolicy = field(default_factory=RefreshPolicy)

    @property
    def home(self) -> Path:
        """Run data of this table."""
        return self.storage / Relation.parse(self.target).folder

    def settings(self) -> Mapping[str, Any]:
        """For the manifest: plain values."""
        return {
            "fit": asdict(self.fit),
            "sample": {"rows": self.rows, "seed": self.sample_seed},
            "holdout": self.holdout,
            "predict": self.predict,
            "policy": asdict(self.policy),
            "refresh": asdict(self.refresh),
        }
