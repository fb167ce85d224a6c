"""Where the time goes, and how often what happened: by part of the work, summed over threads."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class Stopwatch:
    """Adds up the seconds of named parts.

    >>> watch = Stopwatch()
    >>> with watch.time("asking"):
    ...     pass
    >>> list(watch.seconds)
    ['asking']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self._lock = Lock()

    def count(self, what: str, times: int) -> None:
        """Count what happened so many times."""
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + times

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Count what is done inside."""
        started = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - started
            with self._lock:
                self.seconds[part] = self.seconds.get(part, 0.0) + passed
