"""From encoded rows to a trained network: hardware, sizes, budget, and a state kept on disk."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabdar_pipeline import runtime
from tabdar_pipeline.codec.encoded import EncodedTable
from tabdar_pipeline.codec.number import NumberCodec, NumberSettings
from tabdar_pipeline.codec.table import Missing, TableCodec
from tabdar_pipeline.errors import StorageError, TrainingError, UsageError
from tabdar_pipeline.schemas.constraints import Constraint
from tabdar_pipeline.schemas.discovery import discover
from tabdar_pipeline.schemas.table import TableSchema

if TYPE_CHECKING:
    import torch

    from tabdar_pipeline.model.batches import Rows
    from tabdar_pipeline.model.config import TrainConfig
    from tabdar_pipeline.model.presets import Preset
    from tabdar_pipeline.model.spec import ColumnSpec
    from tabdar_pipeline.model.tabdar import TabDAR as Network
    from tabdar_pipeline.model.training import EpochRecord, Learner
    from tabdar_pipeline.sampling.engine import Visibility

_WARM = 0.4  # of the learning rate, where an earlier model is begun with: it must not be unlearned
_CORES = 4  # that so small a network keeps busy
_EPOCH_STEPS = 75  # where the device likes so small a batch
DEFAULT_SECONDS = 120.0
KEEP_EVERY_S = 60.0
_LOGITS = 20_000_000  # of all codes and rows that are validated on: they are in memory at once
_THRESHOLDS = 1  # stream of the random part of how many rows must share a value


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How a model is fitted."""

    seconds: float | None = None
    epochs: int | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    preset: "Preset" = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int | None = None
    missing: Missing = "generated"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be met."""
        if self.seconds is not None and self.epochs is not None:
            raise UsageError("a budget must be seconds or epochs, however both are given. Drop one.")
        for name in ("seconds", "epochs", "threads"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} must be above 0, however: {name}={value}. Raise it.")


@dataclass(frozen=True, slots=True)
class Design:
    """How the model is built: not a matter of the table, but of what the judge prefers (benchmarks/ablation.py)."""

    reveal: "Visibility" = "cached"  # who sees whom among the columns
    numbers: NumberSettings = field(default_factory=NumberSettings)
    sizes: Mapping[str, int] = field(default_factory=dict)  # of ModelConfig, in place of the preset's
    training: Mapping[str, Any] = field(default_factory=dict)  # of TrainConfig, in place of the defaults


PAPER = Design("paper", NumberSettings(bins=1, atoms=0, atom_share=float("inf")))  # its pure form
OURS = Design()


@dataclass(frozen=True, slots=True)
class Beginning:
    """An earlier model of the same table, whose weights the new one begins with."""

    network: "Network"
    preset: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit gives: the best network on the CPU, the facts of the run, its history."""

    network: "Network"
    facts: dict[str, Any]
    history: "tuple[EpochRecord, ...]"


def fit_codec(
    rows: pa.Table,
    schema: TableSchema,
    constraints: Sequence[Constraint] | None,
    settings: FitSettings,
    design: Design = OURS,
    alone: Sequence[str] = (),
) -> TableCodec:
    """The codec of these rows; constraints are discovered where none are given."""
    _refuse_unknown(alone, schema)
    if constraints is None:
        constraints = [proposal.constraint for proposal in discover(rows, schema)]
    thresholds = np.random.default_rng([settings.seed, _THRESHOLDS])
    return TableCodec.fit(
        rows,
        schema,
        design.numbers,
        settings.missing,
        constraints=constraints,
        rng=thresholds,
        alone=alone,
    )


def _refuse_unknown(alone: Sequence[str], schema: TableSchema) -> None:
    """Raise UsageError where a column that is to stand alone is none of the table's."""
    if unknown := [name for name in alone if name not in schema.names]:
        raise UsageError(
            f"table {schema.name!r}: columns that stand alone must be of the table, however "
            f"{', '.join(map(repr, unknown))} is none of {', '.join(map(repr, schema.names))}. Choose among them."
        )


def fit_network(
    encoded: EncodedTable,
    codec: TableCodec,
    settings: FitSettings,
    *,
    progress: "Callable[[EpochRecord], None] | None" = None,
    resume: Path | None = None,
    warm: Beginning | None = None,
    design: Design = OURS,
    started: float,
) -> Fitted:
    """Train until the budget is spent; the weights are those of the best validation loss."""
    from tabdar_pipeline.model import training
    from tabdar_pipeline.model.config import TrainConfig
    from tabdar_pipeline.model.presets import SIZES

    hardware = _hardware(settings)
    preset = _preset(encoded, settings, hardware) if warm is None else warm.preset
    size = SIZES[preset]
    chosen: dict[str, Any] = {
        "batch": _batch(len(encoded), on_gpu=hardware.on_gpu),
        "learning_rate": size.learning_rate * (1.0 if warm is None else _WARM),
        "dropout": size.dropout,
        "reveal": design.reveal,
    }
    config = TrainConfig(**chosen | dict(design.training))
    learner = _learner(encoded, codec, settings, hardware, config, {**size.network, **design.sizes}, warm)
    rows, validation = _rows(encoded, int(codec.offsets[-1]), settings.seed, hardware.device)
    with _tf32(hardware), _kept(learner, resume, _key(encoded, settings, config, warm)) as keep:
        for record in training.train(
            learner,
            rows,
            validation,
            config,
            training.Budget(settings.seconds, settings.epochs),
            precision=hardware.precision,
            started=started,
            keep=keep,
        ):
            if progress is not None:
                progress(record)
    if not learner.state.history:
        raise TrainingError(
            f"training must have time for a step, however its budget of {settings.seconds:g} seconds was over before the "
            "first: libraries had to load, rows to be encoded. Raise `seconds`."
        )
    learner.model.load_state_dict(learner.best)
    learner.model.heads.settle()
    facts = asdict(settings) | {
        "device": str(hardware.device),
        "preset": preset,
        "train": asdict(config),
        "rows": len(encoded),
        "precision": str(hardware.precision).removeprefix("torch."),
        "warm": warm.fingerprint if warm is not None else None,
    }
    return Fitted(learner.model.eval().cpu(), facts, tuple(learner.state.history))


def column_specs(codec: TableCodec) -> "list[ColumnSpec]":
    """What the network must know of each column."""
    from tabdar_pipeline.model.spec import ColumnSpec

    return [
        ColumnSpec(c.levels, tuple(c.low.tolist()), tuple(c.high.tolist()))
        if isinstance(c, NumberCodec)
        else ColumnSpec(c.levels)
        for c in codec.columns
    ]


@dataclass(frozen=True, slots=True)
class _Hardware:
    device: "torch.device"
    precision: "torch.dtype"

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"


def _hardware(settings: FitSettings) -> _Hardware:
    import torch

    from tabdar_pipeline.model.workers import Place

    place = Place.here()
    cuda = torch.cuda.is_available()
    if settings.device == "cuda" and not cuda:
        raise UsageError(
            "device must be there, however: device=cuda and no CUDA device is visible. Use auto."
        )
    device = (
        torch.device("cuda", place.local_rank) if cuda and settings.device != "cpu" else torch.device("cpu")
    )
    if device.type == "cpu":
        torch.set_num_threads(settings.threads or max(1, runtime.cpus() // place.neighbours))
    bf16 = {"fp32": False, "bf16": True}.get(settings.precision)
    if bf16 is None:  # a GPU has TF32, which is as fast at these sizes
        bf16 = device.type == "cpu" and _cpu_bf16()
    return _Hardware(device, torch.bfloat16 if bf16 else torch.float32)


@contextmanager
def _tf32(hardware: _Hardware) -> Iterator[None]:
    """On a GPU, matrix products take TF32."""
    import torch

    before = torch.get_float32_matmul_precision()
    if hardware.on_gpu:
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _cpu_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware."""
    import torch

    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _preset(encoded: EncodedTable, settings: FitSettings, hardware: _Hardware) -> str:
    """The size of the network that was asked for, or that suits the table, the budget and the device."""
    from tabdar_pipeline.model.presets import suited

    rows, columns = encoded.codes.shape
    core_seconds = min(settings.threads or runtime.cpus(), _CORES) * (settings.seconds or 0.0)
    return suited(settings.preset, rows, columns, core_seconds, on_gpu=hardware.on_gpu)


def _learner(
    encoded: EncodedTable,
    codec: TableCodec,
    settings: FitSettings,
    hardware: _Hardware,
    config: "TrainConfig",
    sizes: Mapping[str, int],
    warm: Beginning | None,
) -> "Learner":
    import torch

    from tabdar_pipeline.model.config import ModelConfig
    from tabdar_pipeline.model.tabdar import TabDAR as Network
    from tabdar_pipeline.model.training import learner
    from tabdar_pipeline.model.workers import Workers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Network(column_specs(codec), ModelConfig(**sizes) if warm is None else warm.network.config)
        if warm is None:
            network.heads.begin_with(torch.from_numpy(_occurring(encoded, codec)))
        else:
            network.load_state_dict(warm.network.state_dict())
        network.heads.share(fresh=warm is None)
    return learner(network.to(hardware.device), config, settings.seed, Workers.join(hardware.device))


def _occurring(encoded: EncodedTable, codec: TableCodec) -> NDArray[np.float32]:
    """(K,) how often each code of all columns occurs, over how often it would if all of its column were alike."""
    counts = [
        np.bincount(encoded.codes[known, c], minlength=column.levels) + 0.5
        for c, (column, known) in enumerate(zip(codec.columns, encoded.known.T, strict=True))
    ]
    return np.concatenate([it / it.mean() for it in counts]).astype(np.float32)


def _batch(rows: int, *, on_gpu: bool) -> int:
    """A power of two that gives an epoch some dozens of steps, within what the device likes."""
    most = 1024 if on_gpu else 256
    return int(np.clip(2 ** round(np.log2(max(rows, 1) / _EPOCH_STEPS)), 16, most))


def _rows(encoded: EncodedTable, codes: int, seed: int, device: "torch.device") -> "tuple[Rows, Rows]":
    """Rows to learn from, and rows to validate on (a twentieth, no more than 2,000; fewer where codes are very many)."""
    import torch

    from tabdar_pipeline.model.batches import Rows

    order = np.random.default_rng(seed).permutation(len(encoded))
    held = min(len(encoded) // 20, 2000, max(_LOGITS // codes, 256))

    def rows(indices: Any) -> Rows:
        part = encoded.take(indices)
        return Rows(*(torch.from_numpy(a).to(device) for a in (part.codes, part.values, part.known)))

    return rows(order[held:]), rows(order[:held] if held >= 10 else order)


def _key(encoded: EncodedTable, settings: FitSettings, config: "TrainConfig", warm: Beginning | None) -> str:
    """What a kept training state belongs to: these rows, these settings, and what it began with."""
    digest = hashlib.sha256(encoded.codes.data)
    digest.update(encoded.values.data)
    for record in (asdict(settings), asdict(config)):
        digest.update(json.dumps(record, sort_keys=True).encode())
    if warm is not None:
        digest.update(warm.fingerprint.encode())
    return digest.hexdigest()


@contextmanager
def _kept(learner: "Learner", folder: Path | None, key: str) -> Iterator[Callable[[], None]]:
    """Take up the state of training that the folder keeps, keep it once a minute, forget it at the end.

    Whatever cuts training off, a cancellation, a limit or an error, its state is kept; at worst one step is taken
    twice. After a divergence there is nothing to go on from. Several processes have no common state: what they train
    is not kept.
    """
    from tabdar_pipeline.model import resume

    if folder is None or learner.workers.count > 1:
        yield lambda: None
        return
    resume.restore(learner, folder, key)
    saved = time.perf_counter()

    def keep() -> None:
        nonlocal saved
        if time.perf_counter() - saved > KEEP_EVERY_S:
            resume.save(learner, folder, key)
            saved = time.perf_counter()

    try:
        yield keep
    except TrainingError:
        resume.clear(folder)
        raise
    except BaseException as error:
        if learner.state.step > 0:
            _keep_after(error, lambda: resume.save(learner, folder, key))
        raise
    resume.clear(folder)


def _keep_after(error: BaseException, save: Callable[[], None]) -> None:
    """Keep the state after an error; where that fails, the error says so and stays what it is."""
    try:
        save()
    except (StorageError, MemoryError) as lost:
        error.add_note(f"The state of training could not be kept: {lost}")
