"""The library's door: fit, sample, impute, save, load."""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pyarrow as pa

from tabdar_pipeline import checkpoint, imputation, runtime
from tabdar_pipeline.codec.number import NumberCodec, NumberSettings
from tabdar_pipeline.codec.table import EncodedTable, Missing, TableCodec
from tabdar_pipeline.conditions import resolve
from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.predicates import parse
from tabdar_pipeline.sampling.schedule import STEPS, Quality
from tabdar_pipeline.schemas.constraints import Constraint
from tabdar_pipeline.schemas.discovery import discover
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.schemas.table import TableSchema

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from tabdar_pipeline.model.onnx import ExportRecord
    from tabdar_pipeline.model.tabdar import TabDAR as Network
    from tabdar_pipeline.model.training import EpochRecord, Learner
    from tabdar_pipeline.sampling.engine import Engine, Visibility

Preset = Literal["auto", "small", "medium", "large"]
_SIZES = {
    "small": {"width": 64, "layers": 2},
    "medium": {"width": 96, "layers": 3, "heads": 3},
    "large": {"width": 192, "layers": 6, "heads": 6, "denoiser_width": 128},
}
_LEARNING_RATES = {"small": 5e-3, "medium": 4e-3, "large": 2e-3}
_WARM = 0.4  # of the learning rate, where an earlier model is begun with: it must not be unlearned
_EPOCH_STEPS = 75  # where the device likes so small a batch
DEFAULT_SECONDS = 120.0
REVEAL: "Visibility" = "cached"  # who sees whom: the default is what the judge prefers
KEEP_EVERY_S = 60.0
_THRESHOLDS = 1  # stream of the random part of how many rows must share a value


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How a model is fitted."""

    seconds: float | None = None
    epochs: int | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    preset: Preset = "auto"
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


class TabDAR:
    """A fitted model of one table: p(any columns | any other columns)."""

    def __init__(
        self,
        network: "Network",
        schema: TableSchema,
        codec: TableCodec,
        settings: dict[str, Any],
        history: "tuple[EpochRecord, ...]",
    ) -> None:
        self.network, self.schema, self.codec = network, schema, codec
        self.settings, self.history = settings, history
        self._home: tempfile.TemporaryDirectory[str] | None = None
        self._folder: Path | None = None

    @classmethod
    def fit(
        cls,
        table: "pd.DataFrame | pa.Table",
        *,
        name: str = "table",
        schema: TableSchema | None = None,
        constraints: Sequence[Constraint] | None = None,
        settings: FitSettings | None = None,
        progress: "Callable[[EpochRecord], None] | None" = None,
        resume: Path | None = None,
        warm: Self | None = None,
        started: float | None = None,
        **overrides: Any,
    ) -> Self:
        """Learn a table. `overrides` are fields of FitSettings: seconds, epochs, seed, device, ...

        `constraints`: what synthetic rows keep; discovered, where not given. `resume`: a folder that
        keeps the state of training once a minute; a later fit of the same table with the same settings
        goes on from it. `warm`: a model of an earlier state of the table, whose codec and weights this
        one begins with. `started`: when the budget began to run, by `time.perf_counter`; now, where it
        is not given.
        """
        started = time.perf_counter() if started is None else started
        settings = replace(settings or FitSettings(), **overrides)
        if settings.seconds is None and settings.epochs is None:
            settings = replace(settings, seconds=DEFAULT_SECONDS)
        rows = _arrow(table)
        schema = schema or infer_schema(rows, name)
        if warm is None:
            codec = _codec(rows, schema, constraints, settings)
        else:
            warm.refuse_other(schema)
            codec = warm.codec.renewed(rows, schema)
        encoded = codec.encode(rows, schema, np.random.default_rng(settings.seed))
        return cls._fit(encoded, schema, codec, settings, progress, resume, warm, started)

    def refuse_other(self, schema: TableSchema) -> None:
        """Raise UsageError where this model cannot be the beginning of one of that schema."""
        mine, other = ([(c.name, c.kind, c.arrow_type) for c in s.columns] for s in (self.schema, schema))
        if mine != other:
            changed = sorted({c[0] for c in set(mine) ^ set(other)})
            raise UsageError(
                f"table {schema.name!r} must have the columns of the model to begin with, however these are "
                f"others: {', '.join(map(repr, changed))}. Fit without it."
            )

    @classmethod
    def _fit(
        cls,
        encoded: EncodedTable,
        schema: TableSchema,
        codec: TableCodec,
        settings: FitSettings,
        progress: "Callable[[EpochRecord], None] | None",
        resume: Path | None,
        warm: Self | None,
        started: float,
    ) -> Self:
        from tabdar_pipeline.model import resume as kept
        from tabdar_pipeline.model import training
        from tabdar_pipeline.model.config import TrainConfig

        hardware = _hardware(settings)
        preset = _preset(settings, hardware)
        config = TrainConfig(
            batch=_batch(len(encoded), hardware.device.type),
            learning_rate=_LEARNING_RATES[preset] * (1.0 if warm is None else _WARM),
            reveal=REVEAL,
        )
        learner = _learner(codec, settings, hardware, config, _SIZES[preset], warm)
        key = _key(encoded, settings, warm)
        if resume is not None:
            kept.restore(learner, resume, key)
        rows, validation = _rows(encoded, settings.seed, hardware.device)
        saved = time.perf_counter()
        try:
            for record in training.train(
                learner,
                rows,
                validation,
                config,
                training.Budget(settings.seconds, settings.epochs),
                precision=hardware.precision,
                started=started,
            ):
                if progress is not None:
                    progress(record)
                if resume is not None and time.perf_counter() - saved > KEEP_EVERY_S:
                    _keep(learner, resume, key, record)
                    saved = time.perf_counter()
        except KeyboardInterrupt:
            if resume is not None and learner.state.history:
                _keep(learner, resume, key, learner.state.history[-1])
            raise
        if resume is not None:
            kept.clear(resume)
        learner.model.load_state_dict(learner.best)
        facts = asdict(settings) | {
            "device": str(hardware.device),
            "train": asdict(config),
            "rows": len(encoded),
            "precision": str(hardware.precision).removeprefix("torch."),
            "warm": warm.fingerprint if warm is not None else None,
        }
        return cls(learner.model.eval().cpu(), schema, codec, facts, tuple(learner.state.history))

    @property
    def seed(self) -> int:
        """The seed it was fitted with."""
        return int(self.settings["seed"])

    @property
    def fingerprint(self) -> str:
        """SHA-256 over schema, codec and weights."""
        return checkpoint.fingerprint(checkpoint.verify(self._saved()))

    def sample(
        self,
        rows: int | None = None,
        *,
        seed: int = 0,
        where: str | None = None,
        balance: Mapping[str, Mapping[Any, float]] | None = None,
        given: "pd.DataFrame | pa.Table | None" = None,
        draws: int = 1,
        quality: Quality = "balanced",
        engine: Literal["onnx", "torch"] = "onnx",
        format: Literal["pandas", "arrow"] = "pandas",
    ) -> "pd.DataFrame | pa.Table":
        """A synthetic table of so many rows, of the types of the table that was learned.

        `where`: comparisons in SQL, joined by AND, that every row satisfies. `balance`: of a column,
        the share of each value. `given`: rows of which some columns are known; each is completed
        `draws` times, and neither `rows`, `where` nor `balance` can be asked for beside it. `quality`: how
        finely the diffusion of numbers is solved.
        """
        if given is not None:
            if rows is not None or where is not None or balance is not None:
                raise UsageError(
                    "rows that are given must be completed as they are, however rows, where or balance "
                    "is asked for as well. Filter the given rows instead."
                )
            copies = self.sampler(engine, quality=quality).complete_rows(
                _arrow(given), seed=seed, draws=draws
            )
            table = pa.concat_tables(copies)
        else:
            if rows is None:
                raise UsageError("`rows` must be given, however it is not. Say how many rows to draw.")
            batches = self.sample_batches(
                rows, seed=seed, where=where, balance=balance, quality=quality, engine=engine
            )
            table = pa.Table.from_batches(list(batches))
        return table if format == "arrow" else table.to_pandas()

    def sample_batches(
        self,
        rows: int,
        *,
        seed: int = 0,
        where: str | None = None,
        balance: Mapping[str, Mapping[Any, float]] | None = None,
        quality: Quality = "balanced",
        engine: Literal["onnx", "torch"] = "onnx",
        threads: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The same in blocks; without `balance` each is a function of (seed, block) alone."""
        predicates = parse(where, self.schema) if where else ()
        conditions = resolve(self.codec, self.schema, predicates, balance)
        return self.sampler(engine, threads, quality).sample_batches(rows, seed=seed, conditions=conditions)

    def sampler(
        self,
        engine: Literal["onnx", "torch"] = "onnx",
        threads: int | None = None,
        quality: Quality = "balanced",
    ) -> runtime.Sampler:
        """The model behind an engine; its ONNX graphs are exported first where they are not there."""
        return runtime.Sampler(
            self._engine(engine, threads, quality), self.codec, self.schema, self.fingerprint
        )

    def impute(
        self,
        table: "pd.DataFrame | pa.Table",
        *,
        seed: int = 0,
        draws: int = 1,
        point: imputation.Point = "draw",
        columns: Sequence[str] | None = None,
        engine: Literal["onnx", "torch"] = "onnx",
    ) -> pa.Table:
        """The table with its missing cells filled; several draws one after the other, numbered in `draw`."""
        names = None if columns is None else tuple(columns)
        request = imputation.Request(seed, point, names, draws)
        imputation.numbered_schema(self.schema, draws)
        copies = self.sampler(engine).impute(_arrow(table), request)
        return pa.concat_tables(imputation.numbered(copy, k, draws) for k, copy in enumerate(copies))

    def export(self, folder: Path | None = None) -> "ExportRecord":
        """Write backbone.onnx, query.onnx and denoiser.onnx into a saved model's folder; raises ParityError."""
        from tabdar_pipeline.model import onnx

        home = folder or self._saved()
        record = onnx.export(self.network, home, together=self._reveal != "cached")
        checkpoint.seal(home)
        return record

    def save(self, folder: Path | str) -> None:
        """Write the model directory, whole or not at all."""
        from safetensors.torch import save_file

        folder = Path(folder)
        records = {
            checkpoint.MODEL: {
                "config": asdict(self.network.config),
                "settings": self.settings,
                "history": [asdict(record) for record in self.history],
            },
            checkpoint.SCHEMA: self.schema.to_json(),
            checkpoint.CODEC: self.codec.to_json(),
        }
        with tempfile.TemporaryDirectory() as scratch:
            weights = Path(scratch) / checkpoint.WEIGHTS
            save_file({k: v.contiguous() for k, v in self.network.state_dict().items()}, weights)
            files = {checkpoint.WEIGHTS: weights}
            if self._folder is not None:
                files |= {n: self._folder / n for n in runtime.GRAPHS if (self._folder / n).is_file()}
            checkpoint.write(folder, records, files)
        self._folder = folder

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read a model directory; raises ModelDirectoryError where it is torn or altered."""
        from safetensors.torch import load_file

        from tabdar_pipeline.model.config import ModelConfig
        from tabdar_pipeline.model.tabdar import TabDAR as Network
        from tabdar_pipeline.model.training import EpochRecord

        folder = Path(folder)
        it = checkpoint.describe(folder)
        network = Network(column_specs(it.codec), ModelConfig(**it.model["config"]))
        network.load_state_dict(load_file(folder / checkpoint.WEIGHTS))
        history = tuple(EpochRecord(**record) for record in it.model["history"])
        model = cls(network.eval(), it.schema, it.codec, dict(it.model["settings"]), history)
        model._folder = folder
        return model

    def _saved(self) -> Path:
        """Where the model lies on disk; a temporary folder until it is saved."""
        if self._folder is None:
            self._home = tempfile.TemporaryDirectory(prefix="tabdar-")
            self.save(Path(self._home.name) / "model")
        assert self._folder is not None
        return self._folder

    def _engine(self, engine: str, threads: int | None, quality: Quality) -> "Engine":
        if engine == "torch":
            from tabdar_pipeline.model.engine import TorchEngine

            return TorchEngine(self.network, steps=STEPS[quality], reveal=self._reveal)
        folder = self._saved()
        if not all((folder / graph).is_file() for graph in runtime.GRAPHS):
            self.export()
        return runtime.OnnxEngine(
            folder,
            offsets=self.codec.offsets,
            continuous=self.codec.continuous,
            reveal=self._reveal,
            steps=STEPS[quality],
            threads=threads,
        )

    @property
    def _reveal(self) -> Any:
        return self.settings["train"]["reveal"]


def column_specs(codec: TableCodec) -> "list[Any]":
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


def _hardware(settings: FitSettings) -> _Hardware:
    import torch

    cuda = torch.cuda.is_available()
    if settings.device == "cuda" and not cuda:
        raise UsageError(
            "device must be there, however: device=cuda and no CUDA device is visible. Use auto."
        )
    device = torch.device("cuda" if cuda and settings.device != "cpu" else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(settings.threads or runtime.cpus())
    bf16 = {"fp32": False, "bf16": True}.get(settings.precision)
    if bf16 is None:
        bf16 = cuda or _cpu_bf16()
    return _Hardware(device, torch.bfloat16 if bf16 else torch.float32)


def _cpu_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware."""
    import torch

    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _preset(settings: FitSettings, hardware: _Hardware) -> str:
    """The size of the network that suits the device, where none is asked for."""
    if settings.preset != "auto":
        return settings.preset
    return "large" if hardware.device.type == "cuda" else "small"


def _codec(
    rows: pa.Table, schema: TableSchema, constraints: Sequence[Constraint] | None, settings: FitSettings
) -> TableCodec:
    """The codec of these rows; constraints are discovered where none are given."""
    if constraints is None:
        constraints = [proposal.constraint for proposal in discover(rows, schema)]
    thresholds = np.random.default_rng([settings.seed, _THRESHOLDS])
    return TableCodec.fit(
        rows, schema, NumberSettings(), settings.missing, constraints=constraints, rng=thresholds
    )


def _learner(
    codec: TableCodec,
    settings: FitSettings,
    hardware: _Hardware,
    config: Any,
    sizes: Mapping[str, int],
    warm: TabDAR | None,
) -> "Learner":
    import torch

    from tabdar_pipeline.model.config import ModelConfig
    from tabdar_pipeline.model.tabdar import TabDAR as Network
    from tabdar_pipeline.model.training import learner

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Network(column_specs(codec), ModelConfig(**sizes) if warm is None else warm.network.config)
    if warm is not None:
        network.load_state_dict(warm.network.state_dict())
    return learner(network.to(hardware.device), config, settings.seed)


def _batch(rows: int, device: str) -> int:
    """A power of two that gives an epoch some dozens of steps, within what the device likes."""
    most = 256 if device == "cpu" else 4096
    return int(np.clip(2 ** round(np.log2(max(rows, 1) / _EPOCH_STEPS)), 16, most))


def _rows(encoded: EncodedTable, seed: int, device: "torch.device") -> tuple[Any, Any]:
    """Rows to learn from, and rows to validate on (a twentieth, no more than 2,000)."""
    import torch

    from tabdar_pipeline.model.training import Rows

    order = np.random.default_rng(seed).permutation(len(encoded))
    held = min(len(encoded) // 20, 2000)

    def rows(indices: Any) -> Rows:
        part = encoded.take(indices)
        arrays = (part.codes.astype(np.int32), part.values, part.known)
        return Rows(*(torch.from_numpy(a).to(device) for a in arrays))

    return rows(order[held:]), rows(order[:held] if held >= 10 else order)


def _key(encoded: EncodedTable, settings: FitSettings, warm: TabDAR | None) -> str:
    """What a kept training state belongs to: these rows, these settings, and what it began with."""
    digest = hashlib.sha256(encoded.codes.tobytes())
    digest.update(encoded.values.tobytes())
    digest.update(json.dumps(asdict(settings), sort_keys=True).encode())
    if warm is not None:
        digest.update(warm.fingerprint.encode())
    return digest.hexdigest()


def _keep(learner: "Learner", folder: Path, key: str, record: "EpochRecord") -> None:
    from tabdar_pipeline.model import resume

    learner.state.seconds = record.seconds
    resume.save(learner, folder, key)


def _arrow(table: "pd.DataFrame | pa.Table") -> pa.Table:
    if isinstance(table, pa.Table):
        return table
    return pa.Table.from_pandas(table, preserve_index=False)
