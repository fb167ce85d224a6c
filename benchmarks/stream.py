"""Ten million rows of adult to one parquet file: seconds, peak memory, and a kill -9 on the way.

    python benchmarks/stream.py BENCHMARKS JUDGE_PYTHON

A model learns one half of the table for a minute. The command that samples is killed when a third of its parts
lie there; the same command then goes on, and what it adds is timed, too.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
from imputation import COMMAND, run
from quality import machine

RECORD = Path(__file__).parent / "results" / "stream.json"
EVERY_S = 0.1


@dataclass(frozen=True)
class Watched:
    """What one process took."""

    seconds: float
    peak_bytes: int
    status: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("judge_python")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        record = measure(args, Path(scratch))
    RECORD.write_text(json.dumps(record, indent=1))
    print(json.dumps(record, indent=1))


def measure(args: argparse.Namespace, work: Path) -> dict:
    run([args.judge_python, str(args.benchmarks / "judge.py"), "split", "adult", str(work)])
    model, out = str(work / "model"), work / "rows.parquet"
    run([COMMAND, "fit", str(work / "train.parquet"), model, "--seconds", str(args.seconds), "--json"])
    command = [COMMAND, "sample", model, str(out), "--rows", str(args.rows), "--seed", "1", "--json"]
    parts = out.parent / f".{out.name}.parts"
    third = args.rows // 3 // (256 * 1024)
    killed = watched(command, lambda: len(list(parts.glob("*.parquet"))) >= third)
    drawn = len(list(parts.glob("*.parquet")))
    resumed = watched(command, lambda: False)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "version": version("tabdar-pipeline"),
        "rows": pq.ParquetFile(out).metadata.num_rows,
        "bytes": out.stat().st_size,
        "parts_drawn_before_the_kill": drawn,
        "before_the_kill": vars(killed),
        "after_the_kill": vars(resumed),
        "rows_per_second": args.rows / (killed.seconds + resumed.seconds),
        "left_behind": [path.name for path in out.parent.iterdir() if path.name.startswith(".")],
    }


def watched(command: list[str], stop: Callable[[], bool]) -> Watched:
    """Run a command to its end, or until `stop` says to kill it."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            return Watched(time.perf_counter() - started, usage.ru_maxrss * 1024, code)
        if stop():
            process.kill()
        time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
