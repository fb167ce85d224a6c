"""One step down the loss: orders and noise, gradients, weights, their average.

On a GPU its hundreds of small kernels are recorded once, as a CUDA graph, and launched together: one after the other they
take longer to launch than to run. B rows.
"""

import torch
from torch import Tensor

from tabdar_pipeline.model.batches import Rows, batch, kept, noise
from tabdar_pipeline.model.config import TrainConfig
from tabdar_pipeline.model.optimizer import Optimizer
from tabdar_pipeline.model.tabdar import Loss, TabDAR
from tabdar_pipeline.model.workers import Workers

EAGER = 4  # steps before a graph is recorded: what is allocated lazily must be there
AHEAD = 16  # steps that the host may be ahead of the GPU: the clock of the budget is the host's


class Descent:
    """Steps of a model, and of its average, on rows that lie on its device."""

    def __init__(
        self,
        model: TabDAR,
        average: TabDAR,
        optimizer: Optimizer,
        rng: torch.Generator,
        workers: Workers,
        rows: Rows,
        config: TrainConfig,
        precision: torch.dtype,
    ) -> None:
        self.model, self.average, self.optimizer = model, average, optimizer
        self.rng, self.workers = rng, workers
        self.rows, self.config, self.precision = rows, config, precision
        self.batch = torch.empty(0)  # (B,) numbers of rows
        self.rate, self.horizon = (torch.zeros((), device=rng.device) for _ in range(2))
        self.stream = (
            torch.cuda.Stream(rng.device) if rng.device.type == "cuda" and workers.count == 1 else None
        )
        self.graph: torch.cuda.CUDAGraph | None = None
        self.loss = torch.empty(0)
        self.steps = 0

    def step(self, batch: Tensor, rate: float, follow: float) -> Tensor:
        """Learn from these rows (B,) at a share of the learning rate; the average moves by `follow` of its way. The loss."""
        if not self.steps:
            self.batch = batch.clone()
        self.batch.copy_(batch)
        self.rate.fill_(rate)
        self.horizon.fill_(follow)
        self.steps += 1
        return self._step() if self.stream is None else self._launch(self.stream)

    def _launch(self, stream: torch.cuda.Stream) -> Tensor:
        """The same on a GPU: the first steps kernel by kernel, the others from the graph."""
        if self.steps % AHEAD == 0:
            torch.cuda.current_stream().synchronize()
        if self.steps <= EAGER:
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                loss = self._step()
            torch.cuda.current_stream().wait_stream(stream)
            return loss
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            self.graph.register_generator_state(self.rng)
            with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
                self.loss = self._step()
        self.graph.replay()
        return self.loss

    def _step(self) -> Tensor:
        self.model.zero_grad()
        loss = step_loss(self.model, self.rows.take(self.batch), self.config, self.rng, self.precision).total
        loss.backward()
        self.workers.average([p.grad for p in self.model.parameters() if p.grad is not None])
        limit = self.config.gradient_norm
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit, foreach=True)
        self.optimizer.step(self.rate, torch.isfinite(norm))
        self._follow()
        return loss.detach()

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average."""
        average: list[Tensor] = [*self.average.parameters()]
        way = [*torch._foreach_sub([*self.model.parameters()], average)]  # noqa: SLF001
        torch._foreach_mul_(way, self.horizon)
        torch._foreach_add_(average, way)


def step_loss(
    model: TabDAR, rows: Rows, config: TrainConfig, rng: torch.Generator, precision: torch.dtype
) -> Loss:
    """The loss of these rows, in an order and with a noise that are drawn."""
    sigma, unit = noise((*rows.codes.shape, config.noise_levels), config, rng)
    keep = kept((*rows.codes.shape, model.config.width), config, rng) if model.training else None
    with torch.autocast(rng.device.type, dtype=precision, enabled=precision != torch.float32):
        return model.loss(batch(rows, config, rng), sigma, unit, keep)
