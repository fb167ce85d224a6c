"""Models of a benchmark, fitted once and kept: a run that stopped goes on, and what is asked of them can change.

A fit has a machine to itself (`--fit-only`); what is then drawn and judged may share it, since it is not timed.
"""

from collections.abc import Callable
from pathlib import Path

from tabdar_pipeline import TabDAR


def kept(folder: Path, fit: Callable[[], TabDAR]) -> TabDAR:
    """The model in this folder; fitted and put there, where there is none."""
    if not folder.is_dir():
        fit().save(folder)
    return TabDAR.load(folder)
