"""The torch engine of the any-order loop."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabdar_pipeline.model.step import BackboneStep, DenoiserSolver
from tabdar_pipeline.model.tabdar import TabDAR
from tabdar_pipeline.sampling.engine import Cells, Codes, Condition, Floats, Reveal, step_inputs
from tabdar_pipeline.sampling.memory import Flags, Memory, hidden


class TorchEngine:
    """Runs a trained model in torch, on the device where its weights are."""

    def __init__(self, model: TabDAR, *, steps: int, reveal: Reveal) -> None:
        self.model = model.eval()
        self.offsets: NDArray[np.int64] = model.table.offsets
        self.continuous: NDArray[np.bool_] = model.table.continuous
        self.reveal, self.workers = reveal, 1  # torch threads within a block
        self.device = model.offsets.device
        self.backbone = BackboneStep(model).to(self.device)
        self.solver = DenoiserSolver(model, steps)

    def start(self, rows: int) -> Memory:
        """Nothing revealed."""
        config = self.model.config
        blocks, heads = config.layers + config.decoder_layers, config.heads
        return Memory(blocks, rows, heads, config.width // heads, self._zeros)

    @torch.no_grad()
    def step(self, memory: Memory, columns: Codes, shown: Flags, cells: Cells, target: int) -> Condition:
        """Reveal these columns in the rows that show them, then ask for the target column."""
        inputs = step_inputs(columns, shown, cells, target, self.offsets, self.reveal)
        tensors = [torch.from_numpy(array).to(self.device) for array in (*inputs, hidden(memory.shown))]
        answer = self.backbone(*tensors, memory.arrays)
        return Condition(answer.z.cpu().numpy(), answer.logits.cpu().numpy(), answer.fresh)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, device=self.device)

    @torch.no_grad()
    def residuals(self, z: Floats, flat: Codes, noise: Floats) -> Floats:
        """Draw residuals (M,)."""
        arrays = (torch.from_numpy(a).to(self.device) for a in (z, flat, noise))
        drawn: Floats = self.solver(*arrays).cpu().numpy()
        return drawn
