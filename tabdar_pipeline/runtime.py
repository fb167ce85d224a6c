"""The ONNX engine of the any-order loop: onnxruntime and numpy, no torch."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tabdar_pipeline import checkpoint
from tabdar_pipeline.blocks import Table
from tabdar_pipeline.codec.table import TableCodec, modelled_values
from tabdar_pipeline.conditions import Conditions
from tabdar_pipeline.errors import ModelDirectoryError
from tabdar_pipeline.imputation import ORDERS, Progress, Request, complete_rows, impute, widened
from tabdar_pipeline.intervals import LEVEL, intervals
from tabdar_pipeline.sampling.draws import BLOCK_ROWS, START, Draws, Place
from tabdar_pipeline.sampling.engine import (
    Cells,
    Codes,
    Condition,
    Engine,
    Floats,
    Visibility,
    asked,
    revealed,
)
from tabdar_pipeline.sampling.heun import heun
from tabdar_pipeline.sampling.likelihood import losses
from tabdar_pipeline.sampling.memory import Flags, Memory, Shelf
from tabdar_pipeline.sampling.schedule import STEPS, Quality, angles
from tabdar_pipeline.sampling.states import States
from tabdar_pipeline.sampling.stopwatch import Stopwatch
from tabdar_pipeline.schemas.conformity import conformed
from tabdar_pipeline.schemas.table import TableSchema
from tabdar_pipeline.schemas.types import arrow_type

FREE = Conditions()
LOSS_ROWS = 256  # whose losses are measured together: their denoising takes many values a cell
BACKBONE, QUERY, DENOISER = GRAPHS = "backbone.onnx", "query.onnx", "denoiser.onnx"


class OnnxEngine:
    """Runs an exported model in onnxruntime."""

    def __init__(
        self,
        folder: Path,
        *,
        offsets: NDArray[np.int64],
        continuous: NDArray[np.bool_],
        reveal: Visibility,
        steps: int = STEPS["balanced"],
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.offsets, self.continuous, self.reveal = offsets, continuous, reveal
        self.workers, self.angles, self.watch = threads or cpus(), angles(steps), Stopwatch()
        self.backbone = _session(folder / BACKBONE, device)
        self.query = _session(folder / QUERY, device)
        self.denoiser = _session(folder / DENOISER, device)
        self.takes = {i.name: i.shape for i in self.backbone.get_inputs()}
        kept = {i.name: i.shape for i in self.query.get_inputs()}["past_0"]
        self.arrays = len(self.backbone.get_outputs())
        self.encoded = self.arrays - sum(i.name[-1].isdigit() for i in self.query.get_inputs())
        self.together = self.takes["columns"] != [1]  # whether columns are revealed several at once
        self.heads, self.width = int(kept[1]), int(kept[3])
        self.shelf = Shelf(self._memory, BLOCK_ROWS)

    def memory(self, rows: int) -> AbstractContextManager[Memory]:
        """Nothing revealed."""
        return self.shelf.lend(rows)

    def _memory(self, rows: int) -> Memory:
        return Memory(self.arrays // 2, rows, self.heads, self.width)

    def remember(self, memory: Memory, columns: Codes, shown: Flags, cells: Cells) -> None:
        """Reveal these columns in the rows that show them."""
        if len(columns) > 1 and not self.together:
            for c in range(len(columns)):
                self.remember(memory, columns[c : c + 1], shown[:, c : c + 1], cells)
            return
        with self.watch.time("revealing"):
            alike = self._alike(columns, cells)
            if alike is None:
                fresh = self._revealed(columns, shown, cells, memory)
            else:
                first = alike.first
                parts = self._revealed(columns, shown[first], cells.rows(first), memory)
                fresh = [part[alike.of] for part in parts]
            memory.add(fresh, shown)

    def _alike(self, columns: Codes, cells: Cells) -> States | None:
        """Rows whose cells are equal, where a cell's keys and values depend on nothing but the cell."""
        if self.encoded or len(columns) > 1:
            return None
        codes, values = cells.codes[:, columns[0]], cells.values[:, columns[0]]
        found = States.together(len(codes)).parted(codes, values)
        return None if found.apart else found

    def _revealed(self, columns: Codes, shown: Flags, cells: Cells, memory: Memory) -> list[Floats]:
        """Keys and values of these columns, as the graph gives them."""
        names = ("columns", "codes", "values", "earlier", "shown", "past_shown")
        inputs = revealed(columns, shown, cells, memory, self.reveal)
        feed = {n: array for n, array in zip(names, inputs, strict=True) if n in self.takes}
        feed |= {f"past_{i}": memory.arrays[i] for i in range(self.encoded)}
        found: list[Floats] = self.backbone.run(None, feed)
        return found

    def ask(self, memory: Memory, target: int) -> Condition:
        """What is known of the target column."""
        inputs = asked(target, memory, self.offsets)
        feed = dict(zip(("target", "levels", "past_shown"), inputs, strict=True))
        feed |= {f"past_{i}": array for i, array in enumerate(memory.arrays[self.encoded :])}
        with self.watch.time("asking"):
            return Condition(*self.query.run(["z", "logits"], feed))

    def slope(self, x: Floats, theta: float, z: Floats, flat: Codes) -> Floats:
        """F of the diffusion (M,)."""
        feed = {"x": x, "theta": np.array([theta], np.float32), "z": z, "flat": flat}
        found: Floats = self.denoiser.run(["slope"], feed)[0]
        return found

    def residuals(self, z: Floats, flat: Codes, noise: Floats) -> Floats:
        """Draw residuals (M,)."""
        with self.watch.time("solving"):
            drawn: Floats = heun(lambda x, theta: self.slope(x, theta, z, flat), noise, self.angles)
        return drawn


def cpus() -> int:
    """The threads to use: as OMP_NUM_THREADS says, or as many as this process may run on."""
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


def _session(path: Path, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelDirectoryError(
            "sampling through ONNX needs onnxruntime, however it is not installed. "
            "Install it: pip install 'tabdar-pipeline[cpu]'"
        ) from error
    if not path.is_file():
        raise ModelDirectoryError(
            f"a model directory must hold {path.name!r}, however {str(path.parent)!r} has none. "
            f"Make it: tabdar export {path.parent}"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # blocks run side by side instead: no barriers between them
    options.log_severity_level = 3
    # Its fused residual and layer norm runs row by row, four times slower than the two alone.
    slow = ["SkipLayerNormFusion"]
    providers = _providers(device)
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers, disabled_optimizers=slow)
    except Exception as error:  # its own classes have no base of their own
        raise ModelDirectoryError(
            f"{str(path)!r} must be a graph that `tabdar export` wrote, however: {error}. Export it again."
        ) from error


def _providers(device: str) -> Sequence[str]:
    """CUDA where it is asked for, or there."""
    import onnxruntime

    cuda = "CUDAExecutionProvider"
    if device == "cpu" or cuda not in onnxruntime.get_available_providers():
        return ["CPUExecutionProvider"]
    if device == "auto" and not Path("/proc/driver/nvidia").exists():
        return ["CPUExecutionProvider"]
    onnxruntime.preload_dlls()
    return [cuda, "CPUExecutionProvider"]


class Sampler:
    """A model and what runs it: samples, completes and imputes."""

    def __init__(self, engine: Engine, codec: TableCodec, schema: TableSchema, fingerprint: str) -> None:
        self.engine, self.codec, self.schema, self.fingerprint = engine, codec, schema, fingerprint

    @property
    def arrow_schema(self) -> pa.Schema:
        """Names and types of what it samples."""
        return pa.schema([(c.name, arrow_type(c.arrow_type)) for c in self.schema.columns])

    def sample_batches(
        self,
        rows: int,
        *,
        seed: int = 0,
        conditions: Conditions = FREE,
        blocks: Sequence[int] | None = None,
        place: Place = START,
    ) -> Iterator[pa.RecordBatch]:
        """Synthetic rows, block by block; of a table of so many rows these blocks, or all."""
        table = Table(self.engine, self.codec, self.schema, rows, seed, conditions, place)
        return table.batches(blocks)

    def write_rows(
        self,
        path: Path,
        rows: int,
        *,
        seed: int = 0,
        conditions: Conditions = FREE,
        place: Place = START,
        progress: Progress = lambda _done, _rows: None,
    ) -> None:
        """Synthetic rows as a parquet file, block by block: never the whole table."""
        done = 0
        with pq.ParquetWriter(path, self.arrow_schema, compression="zstd") as writer:
            for batch in self.sample_batches(rows, seed=seed, conditions=conditions, place=place):
                writer.write_batch(batch)
                done += batch.num_rows
                progress(done, rows)

    def complete_rows(self, rows: pa.Table, *, seed: int = 0, draws: int = 1) -> Iterator[pa.Table]:
        """Synthetic rows that begin as these, a copy a draw."""
        return complete_rows(self.engine, self.codec, self.schema, rows, seed=seed, draws=draws)

    def impute(
        self, table: pa.Table, request: Request | None = None, progress: Progress | None = None
    ) -> Iterator[pa.Table]:
        """The table with its missing cells filled, a copy a draw."""
        return impute(self.engine, self.codec, self.schema, table, request or Request(), progress)

    def intervals(self, table: pa.Table, request: Request | None = None, level: float = LEVEL) -> pa.Table:
        """For each row its key and, of each number that is filled, between what it lies with this probability."""
        return intervals(self.impute, self.schema, table, request or Request(), level)

    def losses(self, table: pa.Table, *, seed: int = 0) -> Floats:
        """(N,) how badly the model knows each row: the loss that training descends, lower for likelier rows."""
        encoded = self.codec.encode(conformed(table, self.schema), self.schema)
        orders = [Draws.of(seed, k, len(self.codec.columns), rows=0).order for k in range(ORDERS)]

        def work(start: int) -> Floats:
            rows = slice(start, start + LOSS_ROWS)
            cells = Cells(encoded.codes[rows].astype(np.int64), encoded.values[rows])
            return losses(self.engine, cells, encoded.known[rows], orders)

        with ThreadPoolExecutor(self.engine.workers) as pool:
            found = [*pool.map(work, range(0, len(encoded), LOSS_ROWS))]
        return np.concatenate([np.zeros(0, np.float32), *found])

    def unseen(self, table: pa.Table) -> dict[str, int]:
        """Cells, by column, of levels never seen or too rare to keep, and of numbers beyond those seen.

        A column that the table lacks has none.
        """
        table = widened(self.codec, self.schema, table, seed=0)
        cells = {
            column.name: codec.unseen(modelled_values(self.codec.rules, table, column).drop_null())
            for codec, column in zip(self.codec.columns, self.schema.modelled, strict=True)
        }
        return {name: count for name, count in cells.items() if count}


class OnnxSampler(Sampler):
    """A saved and exported model, ready to sample: no torch."""

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        quality: Quality = "balanced",
        device: str = "auto",
        threads: int | None = None,
    ) -> Self:
        """Read a model directory that holds its ONNX graphs."""
        folder = Path(folder)
        it = checkpoint.describe(folder)
        with checkpoint.parsing(folder):
            engine = OnnxEngine(
                folder,
                offsets=it.codec.offsets,
                continuous=it.codec.continuous,
                reveal=it.model["settings"]["train"]["reveal"],
                steps=STEPS[quality],
                device=device,
                threads=threads,
            )
        return cls(engine, it.codec, it.schema, it.fingerprint)
