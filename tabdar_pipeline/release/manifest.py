"""The record of a release: where its rows come from, how they were made, why they were accepted."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

LIBRARIES = (
    "tabdar-pipeline", "torch", "numpy", "pyarrow", "pandas", "duckdb", "dagster", "pandera",
    "great-expectations", "onnx", "onnxruntime", "onnxruntime-gpu", "scikit-learn",
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that it takes to explain a release, and to make it again."""

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

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @property
    def hash(self) -> str:
        """SHA-256 of its canonical JSON."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def library_versions() -> dict[str, str]:
    """The versions of the libraries that a release depends on, where they are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
