"""What moves the weights: Muon for the matrices of the transformer's blocks, Adam for all else."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tabdar_pipeline.model.backbone import Block
from tabdar_pipeline.model.config import TrainConfig
from tabdar_pipeline.model.muon import Muon


class Optimizer:
    """Muon and Adam, as one.

    Embeddings and heads have a row for each code, of which a batch sees some: those are Adam's, and vectors are.
    These do not decay: what is told of a column by one other would get worse.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        matrices = list(_matrices(model)) if config.matrix_rate else []
        known = {id(weight) for weight in matrices}
        others = [weight for weight in model.parameters() if id(weight) not in known]
        self.rate, self.times = config.learning_rate, config.matrix_rate
        self.muon = Muon(matrices)
        on_gpu = others[0].is_cuda
        rate = torch.tensor(self.rate, device=others[0].device)  # so that a CUDA graph can read it
        self.adam = torch.optim.Adam(others, rate, (0.9, 0.99), fused=True, capturable=on_gpu)

    def step(self, share: Tensor, finite: Tensor) -> None:
        """Move the weights by their gradients, at this share () of the learning rate; by nothing where these are not finite."""
        rate = share * self.rate
        self.muon.step(rate * self.times, finite)
        self.adam.param_groups[0]["lr"].copy_(rate)
        setattr(self.adam, "found_inf", (~finite).float())  # noqa: B010  as torch's GradScaler tells it
        self.adam.step()

    def tensors(self) -> dict[str, Tensor]:
        """The moments, by name."""
        moments = {
            f"adam/{i}/{moment}": tensor
            for i, of_weight in self.adam.state_dict()["state"].items()
            for moment, tensor in of_weight.items()
        }
        return moments | {f"muon/{i}": momentum for i, momentum in enumerate(self.muon.momenta)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up moments that were kept."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            name, i, *moment = key.split("/")
            if name == "muon":
                self.muon.momenta[int(i)].copy_(tensor)
            else:
                state.setdefault(int(i), {})[moment[0]] = tensor
        groups: list[dict[str, Any]] = self.adam.state_dict()["param_groups"]
        self.adam.load_state_dict({"state": state, "param_groups": groups})


def _matrices(model: nn.Module) -> Iterator[Tensor]:
    """The weights of all linear layers of the blocks."""
    blocks = (block for block in model.modules() if isinstance(block, Block))
    return (layer.weight for block in blocks for layer in block.modules() if isinstance(layer, nn.Linear))
