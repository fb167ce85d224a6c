"""How long a step may take, and how much memory: kept by the operating system, and told in our words."""

import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from tabdar_pipeline.errors import LimitExceeded, UsageError

GB = 10**9
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "bad allocation",
    "bad_alloc",
    "Out of Memory",
)  # torch, ORT, DuckDB


@dataclass(frozen=True, slots=True)
class Limits:
    """What one step may use; None: as much as there is."""

    seconds: float | None = None
    memory: int | None = None  # bytes of the whole process
    steps: Mapping[str, "Limits"] = field(default_factory=dict)  # by name: what is other there

    def of(self, step: str) -> "Limits":
        """The limits of one step.

        >>> limits = Limits(60.0, steps={"model": Limits(memory=GB)})
        >>> limits.of("model").seconds, limits.of("model").memory, limits.of("report").memory
        (60.0, 1000000000, None)
        """
        own = self.steps.get(step, self)
        return Limits(
            self.seconds if own.seconds is None else own.seconds,
            self.memory if own.memory is None else own.memory,
        )


@contextmanager
def within(limits: Limits, step: str) -> Iterator[None]:
    """Run a step within its limits; raises LimitExceeded."""
    with _memory_of(limits, step), _time_of(limits, step):
        yield


@contextmanager
def _time_of(limits: Limits, step: str) -> Iterator[None]:
    """A signal after so long. Where a library swallows what it raises, it is raised again at the end."""
    if limits.seconds is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        raise UsageError(f"{step}: a limit of time must be kept in the main thread, however this is another.")
    late = LimitExceeded(
        f"step {step!r} must end within {limits.seconds / 60:g} minutes, however it did not. "
        "Raise `limits.minutes` or that of the step in `limits.steps`, lower `train`, or take fewer rows with "
        "`source.limit`."
    )
    rung = False

    def ring(_signal: int, _frame: FrameType | None) -> None:
        nonlocal rung
        rung = True
        raise late

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limits.seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if rung:
        raise late


@contextmanager
def _memory_of(limits: Limits, step: str) -> Iterator[None]:
    """A limit on the private memory of this process, that the kernel keeps: what asks for more is refused it."""
    if limits.memory is None:
        yield
        return
    if sys.platform != "linux":
        raise UsageError(f"limits.memory_gb needs Linux, however this is {sys.platform}. Leave it out.")
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, hard))
    try:
        yield
    except Exception as error:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        if not _is_memory(error):
            raise
        raise LimitExceeded(
            f"step {step!r} must do with {limits.memory / GB:g} GB of memory, however it asked for more. Raise "
            "`limits.memory_gb` or that of the step in `limits.steps`, or take fewer rows or columns with `source`."
        ) from error
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _is_memory(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that memory was refused."""
    if error is None:
        return False
    told = isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)
    return told or _is_memory(error.__cause__)
