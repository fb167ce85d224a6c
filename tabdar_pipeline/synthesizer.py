"""The library's door: fit, sample, impute, save, load."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pyarrow as pa

from tabdar_pipeline import checkpoint, imputation, runtime
from tabdar_pipeline.codec.table import TableCodec
from tabdar_pipeline.conditions import resolve
from tabdar_pipeline.errors import StorageError, UsageError
from tabdar_pipeline.fitting import (
    DEFAULT_SECONDS,
    OURS,
    Beginning,
    Design,
    FitSettings,
    column_specs,
    fit_codec,
    fit_network,
)
from tabdar_pipeline.predicates import parse
from tabdar_pipeline.sampling.schedule import STEPS, Quality
from tabdar_pipeline.schemas.constraints import Constraint
from tabdar_pipeline.schemas.infer import infer_schema
from tabdar_pipeline.schemas.table import TableSchema

if TYPE_CHECKING:
    import pandas as pd

    from tabdar_pipeline.model.config import ModelConfig
    from tabdar_pipeline.model.onnx import ExportRecord
    from tabdar_pipeline.model.spec import ColumnSpec
    from tabdar_pipeline.model.tabdar import TabDAR as Network
    from tabdar_pipeline.model.training import EpochRecord
    from tabdar_pipeline.sampling.engine import Engine


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
        design: Design = OURS,
        started: float | None = None,
        alone: Sequence[str] = (),
        **overrides: Any,
    ) -> Self:
        """Learn a table. `overrides` are fields of FitSettings: seconds, epochs, seed, device, ...

        `constraints`: what synthetic rows keep; discovered, where not given. `resume`: a folder that
        keeps the state of training once a minute; a later fit of the same table with the same settings
        goes on from it. `warm`: a model of an earlier state of the table, whose codec and weights this
        one begins with. `design`: how the model is built, such as `PAPER`, the pure form of the paper. `started`:
        when the budget began to run, by `time.perf_counter`; now, where it is not given. `alone`: columns that rows
        will be asked for by, whatever constraints tie them.
        """
        started = time.perf_counter() if started is None else started
        settings = replace(settings or FitSettings(), **overrides)
        if settings.seconds is None and settings.epochs is None:
            settings = replace(settings, seconds=DEFAULT_SECONDS)
        rows = _arrow(table)
        schema = schema or infer_schema(rows, name)
        schema.refuse_few(rows.num_rows)
        if warm is None:
            codec = fit_codec(rows, schema, constraints, settings, design, alone)
        else:
            warm.refuse_other(schema)
            if alone:
                raise UsageError(
                    f"table {schema.name!r}: a model that begins with another must be made as that one was, however "
                    f"{', '.join(map(repr, alone))} is to stand alone now. Fit from nothing."
                )
            codec = warm.codec.renewed(rows, schema)
        encoded = codec.encode(rows, schema, np.random.default_rng(settings.seed))
        fitted = fit_network(
            encoded,
            codec,
            settings,
            progress=progress,
            resume=resume,
            warm=None if warm is None else Beginning(warm.network, warm.settings["preset"], warm.fingerprint),
            design=design,
            started=started,
        )
        return cls(fitted.network, schema, codec, fitted.facts, fitted.history)

    def refuse_other(self, schema: TableSchema) -> None:
        """Raise UsageError where this model cannot be the beginning of one of that schema."""
        mine, other = ([(c.name, c.kind, c.arrow_type) for c in s.columns] for s in (self.schema, schema))
        if mine != other:
            changed = sorted({c[0] for c in set(mine) ^ set(other)})
            raise UsageError(
                f"table {schema.name!r} must have the columns of the model to begin with, however these are "
                f"others: {', '.join(map(repr, changed))}. Fit without it."
            )

    @property
    def seed(self) -> int:
        """The seed it was fitted with."""
        return int(self.settings["seed"])

    @property
    def stopped_early(self) -> str | None:
        """Why training ended before its budget did; None where it used it."""
        last = self.history[-1]
        if last.budget >= 1:
            return None
        best = max(r.budget for r in self.history if r.best)
        return f"ended at {last.budget:.0%} of the budget: the validation loss was lowest at {best:.0%}"

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

        `where`: comparisons in SQL, joined by AND, or by OR where they are of one column, that every row satisfies.
        `balance`: of a column, the share of each value; None is NULL. `given`: rows of which some columns are known,
        and what is NULL is not; each is completed `draws` times, and neither `rows`, `where` nor `balance` can be asked for beside it. `quality`: how
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
            if rows is None or draws != 1:
                raise UsageError(
                    f"without given rows, `rows` must be how many to draw and `draws` one, however they are {rows} "
                    f"and {draws}. Correct them, or name the rows with `given`."
                )
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
        if rows < 1:
            raise UsageError(f"`rows` must be at least 1, however it is {rows}. Say how many rows to draw.")
        clauses = parse(where, self.schema) if where is not None else ()
        conditions = resolve(self.codec, self.schema, clauses, balance)
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
        together = self._reveal != "cached" or not self.network.config.layers
        try:
            record = onnx.export(self.network, home, together=together)
            checkpoint.seal(home)
        except OSError as error:
            raise StorageError(
                f"the graphs must be written to {str(home)!r}, however: {error.strerror or error}. Free space, and "
                "export again."
            ) from error
        return record

    def save(self, folder: Path | str) -> None:
        """Write the model directory, whole or not at all."""
        from safetensors.torch import save

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
        weights = save({k: v.contiguous() for k, v in self.network.state_dict().items()})
        kept = {} if self._folder is None else {name: self._folder / name for name in runtime.GRAPHS}
        checkpoint.write(folder, records, weights, {n: path for n, path in kept.items() if path.is_file()})
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
        with checkpoint.parsing(folder):
            config, columns = ModelConfig(**it.model["config"]), column_specs(it.codec)
            _refuse_others(folder / checkpoint.WEIGHTS, columns, config)
            network = Network(columns, config)
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


def _refuse_others(weights: Path, columns: "Sequence[ColumnSpec]", config: "ModelConfig") -> None:
    """Raise ValueError where a file holds other weights than this network has, before any memory is taken for it."""
    import torch
    from safetensors import SafetensorError, safe_open

    from tabdar_pipeline.model.tabdar import TabDAR as Network

    with torch.device("meta"):
        wanted = {name: list(it.shape) for name, it in Network(columns, config).state_dict().items()}
    try:
        with safe_open(weights, "pt") as file:
            found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{weights.name}: {error}") from error
    if found != wanted:
        others = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise ValueError(f"{weights.name} must have the weights of this network, however not {others[0]!r}")


def _arrow(table: "pd.DataFrame | pa.Table") -> pa.Table:
    if isinstance(table, pa.Table):
        return table
    return pa.Table.from_pandas(table, preserve_index=False)
