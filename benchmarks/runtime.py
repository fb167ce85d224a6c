"""Seconds and peak memory of training and sampling beside other generators, at several sizes of one table.

    python benchmarks/runtime.py BENCHMARKS JUDGE_PYTHON SCRATCH CTGAN_PYTHON ARF_PYTHON ARGN_PYTHON [--sizes 1000 10000 50000]

Rows of adult, drawn again where a size is more than there are. Each generator is a process of its own on as many cores
as it takes, with its default settings; ctgan and tvae train as many of their 300 epochs as cost no more than all of them do on
1,000 rows, and their seconds are multiplied up, which the record says. What is not done after PATIENCE_S is stopped, and recorded as such. Ours has the seconds of SECONDS. CTGAN_PYTHON has peers/ctgan.txt installed,
ARF_PYTHON peers/arf.txt, ARGN_PYTHON peers/argn.txt.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from frontier import rows_of
from halves import IMAGES, RESULTS, keep, records
from imputation import COMMAND

RECORDS, PLOT = RESULTS / "runtime.json", IMAGES / "runtime.png"
PEERS = Path(__file__).parent / "peers"
SECONDS, DEFAULT_EPOCHS, PATIENCE_S = 30.0, 300, 600.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("judge_python")
    parser.add_argument("scratch", type=Path)
    for name in ("ctgan", "arf", "argn"):
        parser.add_argument(f"{name}_python")
    parser.add_argument("--sizes", nargs="*", type=int, default=[1000, 10_000, 50_000])
    parser.add_argument("--methods", nargs="*", default=["ours", "argn", "ctgan", "tvae", "copula", "arf"])
    args = parser.parse_args()
    for size in args.sizes:
        source = made(args, size)
        for method in args.methods:
            key = {"method": method, "rows": size}
            if any({k: r[k] for k in key} == key for r in records(RECORDS)):
                continue
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    found = measure(args, method, source, Path(scratch))
                except subprocess.TimeoutExpired:
                    found = {"not_done_after_s": PATIENCE_S}
                keep(RECORDS, key, found)
            print(records(RECORDS)[-1], flush=True)
    draw(records(RECORDS))


def made(args: argparse.Namespace, size: int) -> Path:
    """So many rows of adult."""
    path = args.scratch / f"adult-{size}.parquet"
    rows = pd.read_parquet(args.benchmarks / "data" / "adult.parquet").drop(columns="__split")
    rows.sample(size, replace=size > len(rows), random_state=0).to_parquet(path, index=False)
    return path


def measure(args: argparse.Namespace, method: str, source: Path, work: Path) -> dict:
    """Seconds of training and sampling, and the peak of memory of either."""
    size, out = str(rows_of(source)), str(work / "out.parquet")
    if method == "ours":
        fit = watched([COMMAND, "fit", str(source), str(work / "m"), "--seconds", str(SECONDS), "--json"])
        drawn = watched([COMMAND, "sample", str(work / "m"), out, "--rows", size, "--json"])
        both = {"train_s": fit.seconds, "sample_s": drawn.seconds}
        return both | {"peak_mb": fit.peak_mb, "sample_peak_mb": drawn.peak_mb}
    if method == "argn":
        found = watched([args.argn_python, str(PEERS / "argn.py"), str(source), out, size])
        return {**found.printed, "peak_mb": found.peak_mb}
    python = args.arf_python if method == "arf" else args.ctgan_python
    epochs = max(6, DEFAULT_EPOCHS * 1000 // int(size)) if method in ("ctgan", "tvae") else 0
    found = watched([python, str(PEERS / "generators.py"), method, str(source), out, size, str(epochs)])
    measured = {**found.printed, "peak_mb": found.peak_mb}
    if not epochs or epochs >= DEFAULT_EPOCHS:
        return measured
    once = watched([python, str(PEERS / "generators.py"), method, str(source), out, size, "1"])
    each = (found.printed["train_s"] - once.printed["train_s"]) / (epochs - 1)
    whole = once.printed["train_s"] + each * (DEFAULT_EPOCHS - 1)
    return measured | {"train_s": whole, "epochs_measured": epochs, "seconds_an_epoch": each}


@dataclass(frozen=True)
class Run:
    """A process and what it said."""

    seconds: float
    peak_mb: float
    printed: dict


def watched(command: list[str]) -> Run:
    """Run a process to its end; its last line is JSON."""
    import json

    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=sys.stderr)
        alarm = threading.Timer(PATIENCE_S, process.kill)
        alarm.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        alarm.cancel()
        if status and seconds >= PATIENCE_S:
            raise subprocess.TimeoutExpired(command, PATIENCE_S)
        if status:
            raise SystemExit(f"{command} failed")
        said.seek(0)
        text = said.read()
    start = text.rindex("\n{") if "\n{" in text else 0
    return Run(seconds, usage.ru_maxrss / 1024, json.loads(text[start:]))


def draw(found: list[dict]) -> None:
    """Seconds of training, of sampling as many rows, and peak memory, against rows."""
    words = {
        "train_s": "seconds of training",
        "sample_s": "seconds of sampling",
        "peak_mb": "peak memory, MB",
    }
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    found = [r for r in found if "train_s" in r]
    for axis, (key, word) in zip(axes, words.items(), strict=True):
        for method in dict.fromkeys(r["method"] for r in found):
            here = sorted((r for r in found if r["method"] == method), key=lambda r: r["rows"])
            axis.plot([r["rows"] for r in here], [r[key] for r in here], "o-", label=method)
        axis.set(xscale="log", yscale="log", title=word, xlabel="rows")
    axes[0].legend(fontsize=8)
    figure.savefig(PLOT, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
