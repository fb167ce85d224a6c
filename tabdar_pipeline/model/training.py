"""Training: steps down the order-agnostic likelihood, its best weights, a budget that is kept."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tabdar_pipeline.errors import TrainingError
from tabdar_pipeline.model.batches import Batches, Rows
from tabdar_pipeline.model.config import TrainConfig
from tabdar_pipeline.model.descent import Descent, step_loss
from tabdar_pipeline.model.optimizer import Optimizer
from tabdar_pipeline.model.tabdar import TabDAR
from tabdar_pipeline.model.workers import Workers


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to train: seconds of wall clock, or epochs."""

    seconds: float | None
    epochs: int | None


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """Where training stands after an epoch, or a part of one."""

    epoch: float
    step: int
    seconds: float
    budget: float  # the share of the budget used, 0 to 1
    train_loss: float
    validation_loss: float
    categorical: float  # validation cross-entropy, nats a row
    denoising: float  # validation denoising loss, a row
    best: bool


@dataclass(slots=True)
class State:
    """All that a run needs to go on where it stopped."""

    step: int = 0
    seconds: float = 0.0  # spent so far, by earlier attempts too
    best_loss: float = math.inf
    turned: float | None = None  # the share of the budget at which it turned back to the best weights
    history: list[EpochRecord] = field(default_factory=list)


@dataclass(slots=True)
class Learner:
    """A model, its weight average, its best weights, and what moves them."""

    model: TabDAR
    average: TabDAR
    best: dict[str, Tensor]
    optimizer: Optimizer
    rng: torch.Generator
    seed: int
    workers: Workers
    state: State


def learner(model: TabDAR, config: TrainConfig, seed: int, workers: Workers) -> Learner:
    """A fresh learner of this model; each process draws orders and noise of its own."""
    device = model.offsets.device
    average = copy.deepcopy(model)
    rng = torch.Generator(device).manual_seed(seed + 1_000_003 * workers.rank)
    best = copy.deepcopy(model.state_dict())
    return Learner(model.train(), average, best, Optimizer(model, config), rng, seed, workers, State())


def train(
    it: Learner,
    rows: Rows,
    validation: Rows,
    config: TrainConfig,
    budget: Budget,
    *,
    precision: torch.dtype,
    started: float,
    keep: Callable[[], None] = lambda: None,
    records: int = 24,
) -> Iterator[EpochRecord]:
    """Descend until the budget is spent or nothing more is learned; a record some `records` times on the way.

    After each step `keep` may keep the learner.
    """
    per_epoch = max(1, len(rows) // config.batch)
    clock = Clock(budget, per_epoch, started - it.state.seconds)
    mean = _Mean()
    next_record = it.state.history[-1].budget if it.state.history else 0.0
    next_record += 1 / records
    batches = Batches(len(rows), config.batch, it.seed, it.rng.device)
    descent = Descent(it.model, it.average, it.optimizer, it.rng, it.workers, rows, config, precision)
    share = it.workers.agree(clock.share(it.state.step), it.rng.device)
    while not _ends(share, it.state, config):
        rate, follow = _schedule(share, it.state.turned, config), _follow(it.state.step, config)
        mean.add(descent.step(it.workers.part(batches[it.state.step]), rate, follow))
        it.state.step += 1
        it.state.seconds = clock.seconds()
        share = it.workers.agree(clock.share(it.state.step), it.rng.device)
        if share >= next_record or _ends(share, it.state, config):
            next_record = share + 1 / records
            record = _record(it, validation, config, clock, share, mean, per_epoch, precision)
            if it.state.turned is None and rests(it.state.history, config):
                _turn_back(it, share)
            yield record
        keep()


def _ends(share: float, state: State, config: TrainConfig) -> bool:
    """Whether the budget is spent, or the fall of the rate after turning back."""
    return share >= 1 or (state.turned is not None and share >= state.turned + config.fall)


def rests(history: Sequence[EpochRecord], config: TrainConfig) -> bool:
    """Whether the validation loss has not improved for so long that this rate teaches nothing more."""
    if not history:
        return False
    best, last = max((r for r in history if r.best), key=lambda r: r.step), history[-1]
    return last.budget - best.budget >= config.patience and last.step - best.step >= config.patience_steps


def _turn_back(it: Learner, share: float) -> None:
    """Go on from the best weights, with a rate that falls to zero soon."""
    it.model.load_state_dict(it.best)
    it.average.load_state_dict(it.best)
    it.state.turned = share


@dataclass(frozen=True, slots=True)
class Clock:
    """How much of the budget is used."""

    budget: Budget
    per_epoch: int
    started: float

    def seconds(self) -> float:
        """Since the start of training, earlier attempts included."""
        return time.perf_counter() - self.started

    def share(self, step: int) -> float:
        """Of the budget, 0 to 1."""
        if self.budget.seconds is not None:
            return self.seconds() / self.budget.seconds
        return step / (self.per_epoch * (self.budget.epochs or 1))


def _schedule(share: float, turned: float | None, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine to zero at the end of the budget; after turning back, a line to zero."""
    start = share if turned is None else turned
    rise = min(1.0, start / config.warmup + 1e-2)
    rate = rise * 0.5 * (1 + math.cos(math.pi * min(start, 1.0)))
    return rate if turned is None else rate * max(0.0, 1 - (share - turned) / config.fall)


def _follow(step: int, config: TrainConfig) -> float:
    """How far the average moves to the weights: its horizon is a share of the steps so far."""
    return 1 / (1 + config.ema_steps * step)


@torch.no_grad()
def _record(
    it: Learner,
    validation: Rows,
    config: TrainConfig,
    clock: Clock,
    share: float,
    mean: "_Mean",
    per_epoch: int,
    precision: torch.dtype,
) -> EpochRecord:
    rng = torch.Generator(it.rng.device).manual_seed(0)  # the same orders and noise each time
    loss = step_loss(it.average.eval(), validation, config, rng, precision)
    total = float(loss.total)
    if not math.isfinite(total):
        raise TrainingError(
            f"the validation loss must be finite, however it is {total} after step {it.state.step}. "
            "Fit again with another seed, or with precision fp32 (`--precision`, or of the compute resource)."
        )
    best = total < it.state.best_loss
    if best:
        it.best = copy.deepcopy(it.average.state_dict())
        it.state.best_loss = total
    record = EpochRecord(
        it.state.step / per_epoch,
        it.state.step,
        clock.seconds(),
        min(1.0, share),
        mean.take(),
        total,
        float(loss.categorical),
        float(loss.denoising),
        best,
    )
    it.state.history.append(record)
    return record


class _Mean:
    """A mean kept on the device, read once a record."""

    def __init__(self) -> None:
        self.total: Tensor | float = 0.0
        self.count = 0

    def add(self, value: Tensor) -> None:
        self.total = self.total + value
        self.count += 1

    def take(self) -> float:
        mean = float(self.total) / max(self.count, 1)
        self.total, self.count = 0.0, 0
        return mean


Progress = Callable[[EpochRecord], None]
