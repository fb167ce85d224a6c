"""Models of a benchmark, fitted once and kept: a run that stopped goes on, and what is asked of them can change.

Fits that are compared have equal seconds of one core, counted by its clock: what else runs on the machine takes none.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from tabdar_pipeline import TabDAR


def kept(folder: Path, fit: Callable[[], TabDAR]) -> TabDAR:
    """The model in this folder; fitted and put there, where there is none."""
    if not folder.is_dir():
        with cpu_seconds():
            fitted = fit()
        fitted.save(folder)
    return TabDAR.load(folder)


@contextmanager
def cpu_seconds() -> Iterator[None]:
    """Budgets inside are seconds of this process on a core; it must train on one thread."""
    with patch.object(time, "perf_counter", time.process_time):
        yield
