"""What moves the weights: Muon for the backbone's matrices, AdamW for all else."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tabdar_pipeline.model.config import TrainConfig
from tabdar_pipeline.model.tabdar import TabDAR

MATRIX_RATE = 2.0  # Muon's learning rate, over AdamW's
MOMENTUM = 0.9


class Optimizer:
    """Muon (Jordan et al. 2024; its rate scaled as by Liu et al. 2025) and AdamW, as one.

    Muon's step is the nearest orthogonal matrix to the momentum: no direction is learned before another. Embeddings
    and heads have a row for each code, of which a batch sees some: those are AdamW's, and vectors are.
    """

    def __init__(self, model: TabDAR, config: TrainConfig) -> None:
        matrices = list(_matrices(model.backbone))
        known = {id(weight) for weight in matrices}
        others = [weight for weight in model.parameters() if id(weight) not in known]
        self.rate = config.learning_rate
        self.adam = torch.optim.AdamW(
            others, lr=self.rate, weight_decay=config.weight_decay, betas=(0.9, 0.99), fused=True
        )
        self.muon = torch.optim.Muon(
            matrices,
            lr=MATRIX_RATE * self.rate,
            weight_decay=config.weight_decay,
            momentum=MOMENTUM,
            adjust_lr_fn="match_rms_adamw",
        )

    def step(self, share: float) -> None:
        """Move the weights by their gradients, at this share of the learning rate."""
        for optimizer, rate in ((self.adam, self.rate), (self.muon, MATRIX_RATE * self.rate)):
            for group in optimizer.param_groups:
                group["lr"] = share * rate
            optimizer.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.adam.zero_grad(set_to_none=True)
        self.muon.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """The moments, by name."""
        return {
            f"{name}/{i}/{moment}": tensor
            for name, optimizer in self._named()
            for i, moments in optimizer.state_dict()["state"].items()
            for moment, tensor in moments.items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up moments that were kept."""
        for name, optimizer in self._named():
            state: dict[int, dict[str, Tensor]] = {}
            for key, tensor in tensors.items():
                of, i, moment = key.split("/")
                if of == name:
                    state.setdefault(int(i), {})[moment] = tensor
            groups: list[dict[str, Any]] = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _named(self) -> Iterator[tuple[str, torch.optim.Optimizer]]:
        yield "adam", self.adam
        yield "muon", self.muon


def _matrices(backbone: nn.Module) -> Iterator[Tensor]:
    """The weights of all linear layers."""
    return (layer.weight for layer in backbone.modules() if isinstance(layer, nn.Linear))
