"""Training: random orders of columns, the order-agnostic likelihood, a budget that is kept.

B rows, C columns, S noise levels.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tabdar_pipeline.errors import TrainingError
from tabdar_pipeline.model.config import TrainConfig
from tabdar_pipeline.model.optimizer import Optimizer
from tabdar_pipeline.model.tabdar import Batch, Loss, TabDAR
from tabdar_pipeline.model.workers import Workers
from tabdar_pipeline.sampling.engine import Visibility


@dataclass(frozen=True, slots=True)
class Rows:
    """Encoded rows on the training device."""

    codes: Tensor  # (N, C) int16 or int32
    values: Tensor  # (N, C) residuals
    known: Tensor  # (N, C) bool

    def __len__(self) -> int:
        """N, the number of rows."""
        return len(self.codes)

    def take(self, rows: Tensor) -> "Rows":
        """These rows."""
        return Rows(self.codes[rows], self.values[rows], self.known[rows])


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


def reveal_times(known: Tensor, reveal: Visibility, rng: torch.Generator) -> Tensor:
    """When each cell is revealed, (B, C): a random order a row, unknown cells never before known.

    cached: every column has its own time. paper: k visible columns at time 0, the rest at time 1,
    k uniform (paper, section 3.2). mixed: the first k at time 0 together, in half of the rows.
    """
    rows, columns = known.shape
    keys = torch.rand(rows, columns, generator=rng, device=known.device)
    order = (keys + 2.0 * ~known).argsort(dim=1).argsort(dim=1)
    if reveal == "cached":
        return order
    k = torch.randint(columns, (rows, 1), generator=rng, device=known.device)
    if reveal == "paper":
        return (order >= k).long()
    half = torch.rand(rows, 1, generator=rng, device=known.device) < 0.5
    return torch.where((order < k) & half, 0, order)


def batch(rows: Rows, config: TrainConfig, rng: torch.Generator) -> Batch:
    """A training batch: every known cell that is not given is a target, each count k weighs the same."""
    times = reveal_times(rows.known, config.reveal, rng)
    weight = rows.known.float()
    if config.reveal != "cached":
        given = (times == 0) & ((times == 0).sum(dim=1, keepdim=True) > 1)
        if config.reveal == "paper":
            given = times == 0
        weight = weight * ~given
        weight = weight * (weight.shape[1] / weight.sum(dim=1, keepdim=True).clamp(min=1))
    return Batch(rows.codes.long(), rows.values, weight, times)


def noise(shape: tuple[int, ...], config: TrainConfig, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """log-normal noise levels and unit noise."""
    level, unit = (torch.randn(shape, generator=rng, device=rng.device) for _ in range(2))
    return torch.exp(config.noise_mean + config.noise_std * level), unit


def learner(model: TabDAR, config: TrainConfig, seed: int, workers: Workers) -> Learner:
    """A fresh learner of this model; each process draws orders and noise of its own."""
    device = model.offsets.device
    average = copy.deepcopy(model)
    rng = torch.Generator(device).manual_seed(seed + 1_000_003 * workers.rank)
    best = copy.deepcopy(model.state_dict())
    return Learner(model, average, best, Optimizer(model, config), rng, seed, workers, State())


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
    step_loss = _Mean()
    next_record = it.state.history[-1].budget if it.state.history else 0.0
    next_record += 1 / records
    batches = _Batches(len(rows), config.batch, it.seed, it.rng.device)
    share = it.workers.agree(clock.share(it.state.step), it.rng.device)
    while not _ends(share, it.state, config):
        loss = _step(it, rows.take(it.workers.part(batches[it.state.step])), config, share, precision)
        step_loss.add(loss)
        it.state.step += 1
        it.state.seconds = clock.seconds()
        share = it.workers.agree(clock.share(it.state.step), it.rng.device)
        if share >= next_record or _ends(share, it.state, config):
            next_record = share + 1 / records
            record = _record(it, validation, config, clock, share, step_loss, per_epoch, precision)
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


class _Batches:
    """Which rows each step takes: a function of (seed, step), so that a resumed run goes on exactly.

    Each epoch is a permutation of all rows; its last short batch is left out.
    """

    def __init__(self, rows: int, size: int, seed: int, device: torch.device) -> None:
        self.rows, self.size, self.seed, self.device = rows, min(size, rows), seed, device
        self.epoch, self.order = -1, torch.empty(0)

    def __getitem__(self, step: int) -> Tensor:
        epoch, place = divmod(step, self.rows // self.size)
        if epoch != self.epoch:
            rng = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self.epoch, self.order = epoch, torch.randperm(self.rows, generator=rng).to(self.device)
        return self.order[place * self.size : (place + 1) * self.size]


def _step(it: Learner, rows: Rows, config: TrainConfig, share: float, precision: torch.dtype) -> Tensor:
    loss = _loss(it.model.train(), rows, config, it.rng, precision).total
    it.optimizer.zero_grad()
    loss.backward()
    it.workers.average([p.grad for p in it.model.parameters() if p.grad is not None])
    norm = torch.nn.utils.clip_grad_norm_(it.model.parameters(), config.gradient_norm, foreach=True)
    if torch.isfinite(norm):
        it.optimizer.step(_schedule(share, it.state.turned, config))
        _follow(it, config)
    return loss.detach()


def _loss(
    model: TabDAR, rows: Rows, config: TrainConfig, rng: torch.Generator, precision: torch.dtype
) -> Loss:
    sigma, unit = noise((*rows.codes.shape, config.noise_levels), config, rng)
    with torch.autocast(rng.device.type, dtype=precision, enabled=precision != torch.float32):
        return model.loss(batch(rows, config, rng), sigma, unit)


def _schedule(share: float, turned: float | None, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine to zero at the end of the budget; after turning back, a line to zero."""
    start = share if turned is None else turned
    rise = min(1.0, start / config.warmup + 1e-2)
    rate = rise * 0.5 * (1 + math.cos(math.pi * min(start, 1.0)))
    return rate if turned is None else rate * max(0.0, 1 - (share - turned) / config.fall)


@torch.no_grad()
def _follow(it: Learner, config: TrainConfig) -> None:
    """Move the average: its horizon is a share of the steps so far."""
    rate = 1 / (1 + config.ema_steps * it.state.step)
    torch._foreach_lerp_(list(it.average.parameters()), list(it.model.parameters()), rate)


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
    loss = _loss(it.average.eval(), validation, config, rng, precision)
    total = float(loss.total)
    if not math.isfinite(total):
        raise TrainingError(
            f"the validation loss must be finite, however it is {total} after step {it.state.step}. "
            "Fit again with another seed, or with --precision fp32."
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
