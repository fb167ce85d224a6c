"""What moves the weights: Muon for the matrices of the transformer's blocks, Adam for all else."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tabdar_pipeline.model.backbone import Block
from tabdar_pipeline.model.config import TrainConfig

MOMENTUM, DECAY = 0.9, 0.1  # of Muon


class Optimizer:
    """Muon (Jordan et al. 2024; its rate scaled as by Liu et al. 2025) and Adam, as one.

    Muon's step is the nearest orthogonal matrix to the momentum: no direction is learned before another. Embeddings
    and heads have a row for each code, of which a batch sees some: those are Adam's, and vectors are.
    These do not decay: what is told of a column by one other would get worse.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        matrices = list(_matrices(model)) if config.matrix_rate else []
        known = {id(weight) for weight in matrices}
        others = [weight for weight in model.parameters() if id(weight) not in known]
        self.rate = config.learning_rate
        adam = torch.optim.Adam(others, self.rate, (0.9, 0.99), fused=True)
        self.parts: dict[str, tuple[torch.optim.Optimizer, float]] = {"adam": (adam, 1.0)}
        if matrices:
            muon = torch.optim.Muon(matrices, self.rate, DECAY, MOMENTUM, adjust_lr_fn="match_rms_adamw")
            self.parts["muon"] = muon, config.matrix_rate

    def step(self, share: float) -> None:
        """Move the weights by their gradients, at this share of the learning rate."""
        for optimizer, times in self.parts.values():
            for group in optimizer.param_groups:
                group["lr"] = share * times * self.rate
            optimizer.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer, _ in self.parts.values():
            optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """The moments, by name."""
        return {
            f"{name}/{i}/{moment}": tensor
            for name, (optimizer, _) in self.parts.items()
            for i, moments in optimizer.state_dict()["state"].items()
            for moment, tensor in moments.items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up moments that were kept."""
        states: dict[str, dict[int, dict[str, Tensor]]] = {name: {} for name in self.parts}
        for key, tensor in tensors.items():
            name, i, moment = key.split("/")
            states[name].setdefault(int(i), {})[moment] = tensor
        for name, (optimizer, _) in self.parts.items():
            groups: list[dict[str, Any]] = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": states[name], "param_groups": groups})


def _matrices(model: nn.Module) -> Iterator[Tensor]:
    """The weights of all linear layers of the blocks."""
    blocks = (block for block in model.modules() if isinstance(block, Block))
    return (layer.weight for block in blocks for layer in block.modules() if isinstance(layer, nn.Linear))
