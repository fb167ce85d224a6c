"""The torch engine of the any-order loop."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabdar_pipeline.model.step import Ask, Reveal, Slope
from tabdar_pipeline.model.tabdar import TabDAR
from tabdar_pipeline.sampling.engine import Cells, Codes, Condition, Floats, Visibility, asked, revealed
from tabdar_pipeline.sampling.heun import heun
from tabdar_pipeline.sampling.memory import Flags, Memory
from tabdar_pipeline.sampling.schedule import angles
from tabdar_pipeline.sampling.stopwatch import Stopwatch


class TorchEngine:
    """Runs a trained model in torch, on the device where its weights are."""

    def __init__(self, model: TabDAR, *, steps: int, reveal: Visibility) -> None:
        self.model = model.eval()
        self.offsets: NDArray[np.int64] = model.table.offsets
        self.continuous: NDArray[np.bool_] = model.table.continuous
        self.reveal, self.workers = reveal, 1  # torch threads within a block
        self.watch = Stopwatch()
        self.device = model.offsets.device
        self.revealing, self.asking = Reveal(model).to(self.device), Ask(model).to(self.device)
        self.slopes, self.angles = Slope(model), angles(steps)

    def memory(self, rows: int) -> AbstractContextManager[Memory]:
        """Nothing revealed."""
        config = self.model.config
        blocks, width = config.layers + config.decoder_layers, config.width // config.heads
        return nullcontext(Memory(blocks, rows, config.groups, width, self._zeros))

    @torch.no_grad()
    def remember(self, memory: Memory, columns: Codes, shown: Flags, cells: Cells) -> None:
        """Reveal these columns in the rows that show them."""
        inputs = revealed(columns, shown, cells, memory, self.reveal)
        tensors = [torch.from_numpy(array).to(self.device) for array in inputs]
        encoded = memory.arrays[: 2 * self.model.config.layers]
        with self.watch.time("revealing"):
            memory.add(self.revealing(*tensors, encoded), shown)

    @torch.no_grad()
    def ask(self, memory: Memory, target: int) -> Condition:
        """What is known of the target column."""
        inputs = asked(target, memory, self.offsets)
        tensors = [torch.from_numpy(array).to(self.device) for array in inputs]
        with self.watch.time("asking"):
            answer = self.asking(*tensors, memory.arrays[-2 * self.model.config.decoder_layers :])
            return Condition(answer.z.cpu().numpy(), answer.logits.cpu().numpy())

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, device=self.device)

    @torch.no_grad()
    def slope(self, x: Floats, theta: float, z: Floats, flat: Codes) -> Floats:
        """F of the diffusion (M,)."""
        noisy, conditions, codes = (torch.from_numpy(a).to(self.device) for a in (x, z, flat))
        angle = torch.tensor([theta], device=self.device)
        found: Floats = self.slopes(noisy, angle, conditions, codes).cpu().numpy()
        return found

    @torch.no_grad()
    def residuals(self, z: Floats, flat: Codes, noise: Floats) -> Floats:
        """Draw residuals (M,)."""
        conditions, codes, start = (torch.from_numpy(a).to(self.device) for a in (z, flat, noise))

        def slope(x: Tensor, theta: float) -> Tensor:
            return self.slopes(x, torch.tensor([theta], device=self.device), conditions, codes)

        with self.watch.time("solving"):
            drawn: Floats = heun(slope, start, self.angles).cpu().numpy()
        return drawn
