"""The demo: build the warehouse, run the whole job in process, say where everything is."""

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tabdar_pipeline.errors import UsageError
from tabdar_pipeline.warehouse.demo import build_demo

if TYPE_CHECKING:
    import dagster as dg

JOB = "refresh_synthetic_customers"
DATABASE = Path(".tabdar/demo.duckdb")
HOME = Path(".dagster")
# Where each step begins, as a share of the whole: most of the time is training.
BEGINS = {
    "snapshot": 0.0,
    "drift": 0.01,
    "model": 0.02,
    "onnx": 0.6,
    "candidate": 0.75,
    "report": 0.8,
    "customers": 0.97,
}
# The whole way, also when it is shown a second time and nothing is new.
FIT = {"ops": {"synthetic__customers__drift": {"config": {"way": "fit"}}}}


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Whether the job succeeded, and where to look."""

    succeeded: bool
    root: Path

    def summary(self) -> str:
        """For the terminal."""
        head = "released" if self.succeeded else "not released: see the run in the UI"
        return (
            f"\n  {head}\n"
            f"  release   SELECT * FROM synthetic.customers  in {DATABASE}\n"
            f"  releases  tabdar release list {DATABASE}\n"
            f"  report    {self.root / '.tabdar/synthetic.customers/report.html'}\n"
            f"  UI        DAGSTER_HOME={self.root / HOME} dagster-webserver -w workspace.yaml\n"
            "            then open http://127.0.0.1:3000\n"
        )


def run_demo(root: Path, seconds: float | None, progress: Callable[[float, str], None]) -> DemoResult:
    """Run in a checkout of the project, where workspace.yaml is."""
    if not (root / "workspace.yaml").is_file():
        raise UsageError(
            f"the demo must run in a checkout, however {str(root)!r} has no workspace.yaml. Change folder."
        )
    (root / HOME).mkdir(exist_ok=True)
    shutil.copyfile(root / "dagster.yaml", root / HOME / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(root / HOME)
    progress(0.0, "building the warehouse")
    if not (root / DATABASE).exists():
        build_demo(root / DATABASE)
    return DemoResult(_run_job(root, seconds, progress), root)


def _run_job(root: Path, seconds: float | None, progress: Callable[[float, str], None]) -> bool:
    import dagster as dg

    @dg.logger
    def terminal(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("demo", logging.INFO)  # noqa: LOG001
        logger.addHandler(_Progress(progress))
        return logger

    defs = dg.Definitions.merge(_definitions(root, seconds), dg.Definitions(loggers={"terminal": terminal}))
    with dg.DagsterInstance.get() as instance:
        return (
            defs.resolve_job_def(JOB)
            .execute_in_process(
                instance=instance, raise_on_error=False, run_config={"loggers": {"terminal": {}}, **FIT}
            )
            .success
        )


def _definitions(root: Path, seconds: float | None) -> "dg.Definitions":
    """The code location's own, or its component with another budget."""
    if seconds is None:
        from tabdar_pipeline.definitions import defs

        return defs()
    import dagster as dg
    import yaml

    from tabdar_pipeline.components.synthetic_table import SyntheticTable

    text = (Path(__file__).parent / "defs" / "customers" / "defs.yaml").read_text(encoding="utf-8")
    attributes = yaml.safe_load(text)["attributes"] | {"train": {"seconds": seconds}}
    attributes |= {"storage": str(root / ".tabdar"), "folder": str(root / attributes["folder"])}
    attributes["source"]["database"] = str(root / DATABASE)
    return dg.build_defs_for_component(SyntheticTable.from_attributes_dict(attributes=attributes))


class _Progress(logging.StreamHandler[TextIO]):
    """Dagster's log as a bar of progress; errors are shown in full."""

    def __init__(self, progress: Callable[[float, str], None]) -> None:
        super().__init__()
        self.progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        """Move the bar; write errors out."""
        if record.levelno >= logging.ERROR:
            super().emit(record)
            return
        _run, _, told = record.getMessage().partition("synthetic__customers")
        step, _, note = told.partition(" - ")
        step = step.removeprefix("__") or "customers"
        if step in BEGINS:
            share = BEGINS[step]
            if step == "model" and "%" in note:
                share += float(note.split("%")[0]) / 100 * (BEGINS["onnx"] - share)
            self.progress(share, f"{step}: {note.strip()}"[:80])
