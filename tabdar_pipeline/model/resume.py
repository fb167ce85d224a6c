"""The state of training on disk, so that a run goes on where it stopped: safetensors and JSON."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tabdar_pipeline.errors import StorageError
from tabdar_pipeline.model.training import EpochRecord, Learner, State

_TENSORS, _STATE = "training.safetensors", "training.json"


def save(it: Learner, folder: Path, key: str) -> None:
    """Keep the learner; whole or not at all. `key` names the run it belongs to."""
    name = f"{it.state.step}-{_TENSORS}"
    record = json.dumps({"key": key, "tensors": name, "state": asdict(it.state)})
    partial = folder / f".{name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(_tensors(it), partial)
        partial.replace(folder / name)
        partial = folder / f".{_STATE}"
        partial.write_text(record, encoding="utf-8")
        partial.replace(folder / _STATE)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):  # the folder itself may not be one
            partial.unlink()
        raise StorageError(
            f"the state of training must be kept in {str(folder)!r}, however: {error}. Free space, or choose another "
            "`storage`."
        ) from error
    for old in folder.glob(f"*-{_TENSORS}"):
        if old.name != name:
            old.unlink()


def _tensors(it: Learner) -> dict[str, Tensor]:
    """All that changes, by name, each with memory of its own."""
    tensors = {f"model/{k}": v for k, v in it.model.state_dict().items()}
    tensors |= {f"average/{k}": v for k, v in it.average.state_dict().items()}
    tensors |= {f"best/{k}": v for k, v in it.best.items()}
    tensors["rng"] = it.rng.get_state()
    tensors |= {f"optimizer/{k}": v for k, v in it.optimizer.tensors().items()}
    return {k: v.detach().contiguous().clone() for k, v in tensors.items()}


def restore(it: Learner, folder: Path, key: str) -> bool:
    """Take up the learner that was kept for this key; False where there is none."""
    if not (folder / _STATE).is_file():
        return False
    record = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    if record["key"] != key or not (folder / record["tensors"]).is_file():
        return False
    tensors = load_file(folder / record["tensors"], device=str(it.model.offsets.device))
    it.model.load_state_dict(_part(tensors, "model/"))
    it.average.load_state_dict(_part(tensors, "average/"))
    it.best = _part(tensors, "best/")
    it.rng.set_state(tensors["rng"].cpu())
    it.optimizer.restore(_part(tensors, "optimizer/"))
    state = record["state"]
    history = [EpochRecord(**r) for r in state.pop("history")]
    it.state = State(**state, history=history)
    return True


def clear(folder: Path) -> None:
    """Forget what was kept."""
    for path in [*folder.glob(f"*{_TENSORS}"), *folder.glob(f"*{_STATE}")]:
        path.unlink()


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
