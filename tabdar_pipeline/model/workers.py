"""The processes that train one model together: one, unless torchrun started more."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, distributed


@dataclass(frozen=True, slots=True)
class Workers:
    """The place of this process among those that share each batch."""

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: torch.device) -> Self:
        """Meet the processes that torchrun started; alone, where it did not."""
        if not (distributed.is_available() and distributed.is_torchelastic_launched()):
            return cls()
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(distributed.get_rank(), distributed.get_world_size())

    def part(self, rows: Tensor) -> Tensor:
        """The rows of a batch that are for this process."""
        return rows[self.rank :: self.count]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        if self.count > 1:
            flat = torch.cat([t.flatten() for t in tensors])
            distributed.all_reduce(flat)
            sizes = [t.numel() for t in tensors]
            for tensor, mean in zip(tensors, (flat / self.count).split(sizes), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def agree(self, number: float, device: torch.device) -> float:
        """The number of the first process, in all of them."""
        if self.count == 1:
            return number
        box = torch.tensor(number, dtype=torch.float64, device=device)
        distributed.broadcast(box, src=0)
        return float(box)


@dataclass(frozen=True, slots=True)
class Place:
    """Which process this is, as torchrun says in the environment: the only one, where it says nothing."""

    rank: int  # among all
    local_rank: int  # on this machine
    neighbours: int  # on this machine, this one included

    @classmethod
    def here(cls) -> Self:
        """The place of this process."""
        told = os.environ
        return cls(
            int(told.get("RANK", "0")),
            int(told.get("LOCAL_RANK", "0")),
            int(told.get("LOCAL_WORLD_SIZE", "1")),
        )
