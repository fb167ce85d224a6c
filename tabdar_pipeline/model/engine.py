"""The torch engine of the any-order loop."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabdar_pipeline.model.step import BackboneStep, DenoiserSolver
from tabdar_pipeline.model.tabdar import TabDAR
from tabdar_pipeline.sampling.engine import Cells, Codes, Condition, Floats, Reveal, step_inputs


class TorchEngine:
    """Runs a trained model in torch, on the device where its weights are."""

    def __init__(self, model: TabDAR, *, steps: int, reveal: Reveal) -> None:
        self.model = model.eval()
        self.offsets: NDArray[np.int64] = model.table.offsets
        self.continuous: NDArray[np.bool_] = model.table.continuous
        self.reveal = reveal
        self.device = model.offsets.device
        self.backbone = BackboneStep(model).to(self.device)
        self.solver = DenoiserSolver(model, steps)
        self.blocks, self.width = len(self.backbone.register_memory), model.config.width

    def start(self, rows: int) -> Tensor:
        """Memory (L, B, 0, 2 E)."""
        return torch.zeros(self.blocks, rows, 0, 2 * self.width, device=self.device)

    @torch.no_grad()
    def step(self, memory: Tensor, columns: Codes, cells: Cells, target: int) -> Condition:
        """Reveal these columns' cells, then ask for the target column."""
        inputs = step_inputs(columns, cells, target, self.offsets, memory.shape[2], self.reveal)
        columns_, codes, values, hidden, target_, levels = (
            torch.from_numpy(a).to(self.device) for a in inputs
        )
        answer = self.backbone(columns_, codes, values, memory, hidden, target_, levels)
        return Condition(answer.z.cpu().numpy(), answer.logits.cpu().numpy(), answer.memory)

    @torch.no_grad()
    def residuals(self, z: Floats, flat: Codes, noise: Floats) -> Floats:
        """Draw residuals (M,)."""
        arrays = (torch.from_numpy(a).to(self.device) for a in (z, flat, noise))
        drawn: Floats = self.solver(*arrays).cpu().numpy()
        return drawn
