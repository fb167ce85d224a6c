"""What the last release was made of, kept until the next one: the model, its snapshot, contract and settings.

    <home>/served/contract.yaml   what its snapshot satisfied
    <home>/served/served.json     the record, which names the model; models.py keeps it
    <home>/snapshots/             holds the snapshot that the model was fitted on

The folder is written aside and renamed. Where a run was cut off between the release and this, the model's
fingerprint is not the release's, and the next refresh fits from nothing.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import tabdar_pipeline
from tabdar_pipeline import checkpoint
from tabdar_pipeline.assets import models, shelf
from tabdar_pipeline.assets.plan import Plan
from tabdar_pipeline.errors import StorageError
from tabdar_pipeline.schemas.contract import Contract
from tabdar_pipeline.warehouse.snapshot import Snapshot

FOLDER, CONTRACT, RECORD = "served", "contract.yaml", "served"


@dataclass(frozen=True, slots=True)
class Served:
    """The record of the last release of a table."""

    release: str  # its identifier
    model: str  # fingerprint
    data_version: str  # of the source that the release was made from
    rows: int  # of that source
    learned: str  # data version of the snapshot that the model was fitted on
    learning: Mapping[str, Any]  # settings that the model depends on
    drawing: Mapping[str, Any]  # settings that only rows and gate depend on

    @classmethod
    def read(cls, home: Path) -> "Served | None":
        """The record in a table's home; None before the first release."""
        folder = home / FOLDER
        return cls(**shelf.get(folder, RECORD)) if (folder / f"{RECORD}.json").is_file() else None

    def snapshot(self, home: Path) -> Path:
        """The rows that the model was fitted on, holdout among them."""
        return home / "snapshots" / f"{self.learned[:16]}.parquet"

    def directory(self, plan: Plan) -> Path:
        """The model."""
        return models.at(plan.storage, plan.target, self.model)


def keep(plan: Plan, model: Path, contract: Path, taken: Snapshot, release: str) -> Served:
    """Record what a release was made of, in the place of what the one before was made of.

    Partitions of one model share it: the first of them that is released keeps it for all.
    """
    it = checkpoint.describe(model)
    learned = it.model["settings"]["data_version"]
    settings = learning(plan, Contract.read(contract)), drawing(plan)
    record = Served(release, it.fingerprint, taken.data_version, taken.rows, learned, *settings)
    if plan.part is not None and _is_kept(plan.home, record):
        return record
    folder = plan.home / FOLDER
    aside = folder.with_name(f".{FOLDER}-{uuid4().hex[:8]}")
    try:
        aside.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(contract, aside / CONTRACT)
        (aside / f"{RECORD}.json").write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    except OSError as error:
        if plan.part is not None and _is_kept(plan.home, record):  # another partition was faster
            return record
        raise StorageError(
            f"{str(folder)!r} must be written, however: {error.strerror or error}. The release was published; "
            "the next refresh will fit from nothing. Free space or choose another `storage`."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return record


def _is_kept(home: Path, record: Served) -> bool:
    """Whether the same model, snapshot and settings are kept already."""
    kept = Served.read(home)
    return kept is not None and asdict(replace(kept, release=record.release)) == asdict(record)


def beginnings(model: checkpoint.Description) -> dict[str, Any]:
    """Which snapshot a model was fitted on, and with which model that fit began, for the manifest."""
    settings = model.model["settings"]
    return {"learned": settings["data_version"], "warm": settings.get("warm")}


def learning(plan: Plan, contract: Contract) -> dict[str, Any]:
    """What the model depends on, flat and plain; an inferred contract is no setting."""
    settings = plan.settings()
    return _flat(
        {
            "train": {**settings["fit"], "holdout": settings["holdout"]},
            **({} if plan.partitions is None else {"partitions": {"column": plan.partitions.column}}),
            "source": {
                "database": plan.database.name,
                "table": plan.table,
                **asdict(plan.selection),
                "keys": plan.keys,
            },
            "contract": contract.hash if plan.contract is not None else "inferred",
            "tabdar_pipeline": tabdar_pipeline.__version__,
        }
    )


def drawing(plan: Plan) -> dict[str, Any]:
    """What the rows and their judgement depend on beside the model, flat and plain."""
    settings = plan.settings()
    return _flat({name: settings[name] for name in ("sample", "policy", "predict")})


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A sentence for each setting that is another now."""
    return [
        f"{name} is {now.get(name)!r}, was {before.get(name)!r}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by their path, as JSON gives them back."""
    found: dict[str, Any] = {}
    for name, value in json.loads(json.dumps(settings)).items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": it for inner, it in _flat(value).items()}
        else:
            found[name] = value
    return found
