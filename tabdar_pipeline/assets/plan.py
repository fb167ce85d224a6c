"""What one table's assets are to do: the settings of a component, resolved and plain."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tabdar_pipeline.assets.limits import Limits
from tabdar_pipeline.fitting import FitSettings
from tabdar_pipeline.release.policy import ReleasePolicy
from tabdar_pipeline.release.refresh import RefreshPolicy
from tabdar_pipeline.schemas.partitions import Part, Partitioning
from tabdar_pipeline.warehouse.names import Relation, path_part
from tabdar_pipeline.warehouse.snapshot import Selection

PARTITIONS = "partitions"  # folder of what belongs to single ones


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
    partitions: Partitioning | None = None
    part: Part | None = None  # the one that is drawn and judged; None on the way that all of them share

    @property
    def root(self) -> Path:
        """Run data of this table."""
        return self.storage / Relation.parse(self.target).folder

    @property
    def home(self) -> Path:
        """Where its model lies: that of the table, or of the partition where each has its own."""
        return self.desk if self.own_model else self.root

    @property
    def desk(self) -> Path:
        """Where its candidate is judged."""
        return self.root if self.part is None else self.root / PARTITIONS / path_part(self.part.key)

    @property
    def own_model(self) -> bool:
        """Whether this is a partition with a model of its own."""
        return self.part is not None and self.partitions is not None and self.partitions.each

    def of(self, key: str) -> "Plan":
        """The plan of one partition."""
        assert self.partitions is not None
        return replace(self, part=self.partitions.part(key))

    def desks(self) -> list[Path]:
        """Where candidates of this way are judged: of a table with partitions, those of all."""
        if self.partitions is None or self.part is not None:
            return [self.desk]
        folder = self.root / PARTITIONS
        return sorted(folder.iterdir()) if folder.is_dir() else []

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
