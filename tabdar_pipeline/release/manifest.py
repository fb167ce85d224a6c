"""The record of a release: where its rows come from, how they were made, why they were accepted."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from typing import Any, Self

from tabdar_pipeline import __version__

LIBRARIES = (
    "torch",
    "numpy",
    "pyarrow",
    "pandas",
    "duckdb",
    "dagster",
    "pandera",
    "great-expectations",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "scikit-learn",
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that it takes to explain a release, and to make it again.

    What the warehouse alone knows (number, time, row count, hash of rows) it adds when it publishes.
    """

    source: Mapping[str, Any]  # database, table, rows, data version, selection
    contract_hash: str
    schema_fingerprint: str
    code_version: str
    libraries: Mapping[str, str]
    model_fingerprint: str
    seeds: Mapping[str, int]  # fit, sample, evaluate
    settings: Mapping[str, Any]  # train, sample, policy
    figures: Mapping[str, float]
    floor: Mapping[str, float]
    decision: Mapping[str, Any]
    protected: Mapping[str, Any] = field(default_factory=dict)  # by column: what was kept back, in counts
    refresh: Mapping[str, Any] = field(default_factory=dict)  # the way that was gone, why, and the drift
    references: Mapping[str, Any] = field(default_factory=dict)  # by foreign key: the release it refers to
    intervals: Mapping[str, Any] = field(default_factory=dict)  # by attack: both ends of the risk
    terms: Mapping[str, Any] = field(default_factory=dict)  # by column: what every row keeps
    partition: Mapping[str, Any] = field(default_factory=dict)  # which one, and how its rows were drawn

    def to_json(self) -> dict[str, Any]:
        """Plain values that every JSON reader takes; a figure that is no number is null."""
        record: dict[str, Any] = _plain(asdict(self))
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The manifest that `to_json` wrote, as it is or as the warehouse published it."""
        return cls(**{it.name: record[it.name] for it in fields(cls) if it.name in record})

    @property
    def hash(self) -> str:
        """SHA-256 of its canonical JSON: the same facts have the same hash."""
        text = json.dumps(
            self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return hashlib.sha256(text.encode()).hexdigest()


def library_versions() -> dict[str, str]:
    """The versions of this package and of the libraries that a release depends on, where installed."""
    found = {"tabdar-pipeline": __version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
