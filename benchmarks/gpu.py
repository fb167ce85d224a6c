"""What a GPU gives: how soon tables are learned there, how good they get, and how fast rows are drawn.

    python benchmarks/gpu.py prepare WORK BENCHMARKS JUDGE_PYTHON adult beijing magic-protocol
    python benchmarks/gpu.py fit WORK --seconds 60
    python benchmarks/gpu.py speed WORK adult
    python benchmarks/gpu.py score WORK BENCHMARKS JUDGE_PYTHON

`fit` and `speed` are for the machine that has the GPU, and need nothing but WORK and this project; the judge can be elsewhere. Of each
table one half is learned, or what the published protocol has learned (table-protocol).
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from halves import RESULTS, keep
from protocol import write_parts
from quality import machine, run

from tabdar_pipeline import TabDAR
from tabdar_pipeline.fitting import FitSettings
from tabdar_pipeline.runtime import OnnxSampler

RECORDS = RESULTS / "gpu.json"
PROTOCOL = "-protocol"


def main() -> None:
    args = arguments()
    if args.command == "prepare":
        for table in args.tables:
            prepare(args.work / table, args.benchmarks, args.judge_python)
    elif args.command == "fit":
        for folder in tables(args.work, args.tables):
            fit(folder, args.seconds, args.preset)
    elif args.command == "speed":
        for folder in tables(args.work, args.tables):
            speed(folder)
    else:
        for folder in tables(args.work, args.tables):
            score(folder, args.benchmarks, args.judge_python)


def arguments() -> argparse.Namespace:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = found.add_subparsers(dest="command", required=True)
    for name in ("prepare", "fit", "speed", "score"):
        command = commands.add_parser(name)
        command.add_argument("work", type=Path)
        if name in ("prepare", "score"):
            command.add_argument("benchmarks", type=Path)
            command.add_argument("judge_python")
        command.add_argument("tables", nargs="*")
        if name == "fit":
            command.add_argument("--seconds", type=float, default=60)
            command.add_argument("--preset", default="auto")
    return found.parse_args()


def tables(work: Path, names: Sequence[str]) -> list[Path]:
    """Their folders: those that were prepared, where none is named."""
    return [work / name for name in names] or sorted(p.parent for p in work.glob("*/train.parquet"))


def prepare(folder: Path, benchmarks: Path, judge_python: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = folder.name.removesuffix(PROTOCOL)
    if folder.name.endswith(PROTOCOL):
        entries = json.loads((benchmarks / "datasets.json").read_text())
        write_parts(benchmarks, next(e for e in entries if e["name"] == table), folder)
    else:
        run([judge_python, str(benchmarks / "judge.py"), "split", table, str(folder)])


def fit(folder: Path, seconds: float, preset: str) -> None:
    """A model, and how it came about."""
    rows = pq.read_table(folder / "train.parquet")
    started = time.perf_counter()
    model = TabDAR.fit(
        rows, name="table", settings=FitSettings(device="cuda", preset=preset, seconds=seconds)
    )
    wall = time.perf_counter() - started
    model.save(folder / "model")
    record = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "budget_s": seconds,
        "wall_s": wall,
        "stopped_early": model.stopped_early,
        "preset": model.settings["preset"],
        "steps": model.history[-1].step,
        "epochs": model.history[-1].epoch,
        "milliseconds_a_step": 1000 * model.history[-1].seconds / model.history[-1].step,
        "validation": [[r.seconds, r.validation_loss] for r in model.history],
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
    }
    (folder / "fit.json").write_text(json.dumps(record))
    best = min(r.validation_loss for r in model.history)
    print(
        folder.name,
        f"{wall:.1f} s, {record['milliseconds_a_step']:.2f} ms a step, best {best:.3f}",
        flush=True,
    )


def speed(folder: Path) -> None:
    """Rows a second of one model through onnxruntime, on the GPU and on the CPU beside it, and whether they agree."""
    TabDAR.load(folder / "model").export(folder / "model")
    found, made = {"onnxruntime": onnxruntime.__version__, "machine": machine()}, {}
    for device, threads in (("cpu", machine()["cores"]), ("cuda", 8)):
        sampler = OnnxSampler.load(folder / "model", device=device, threads=threads)
        found[f"{device}_providers"] = sampler.engine.query.get_providers()
        drawn(sampler, 8192)
        started = time.perf_counter()
        made[device] = drawn(sampler, 65_536)
        found[f"{device}_rows_per_second"] = 65_536 / (time.perf_counter() - started)
    pairs = zip(made["cpu"].to_pylist(), made["cuda"].to_pylist(), strict=True)
    found["rows_alike"] = sum(a == b for a, b in pairs) / 65_536
    (folder / "speed.json").write_text(json.dumps(found))
    print(folder.name, found, flush=True)


def drawn(sampler: OnnxSampler, rows: int) -> pa.Table:
    return pa.Table.from_batches(sampler.sample_batches(rows, seed=0))


def score(folder: Path, benchmarks: Path, judge_python: str) -> None:
    """As many rows as were learned, judged."""
    files = [folder / f"{name}.parquet" for name in ("train", "holdout", "made")]
    model = TabDAR.load(folder / "model")
    rows = pq.read_metadata(files[0]).num_rows
    pq.write_table(model.sample(rows, seed=1, format="arrow"), files[2])
    table = folder.name.removesuffix(PROTOCOL)
    scores = json.loads(run([judge_python, str(benchmarks / "judge.py"), "score", table, *map(str, files)]))
    fitted = {
        name: json.loads(p.read_text())
        for name in ("fit", "speed")
        if (p := folder / f"{name}.json").exists()
    }
    keep(RECORDS, {"table": folder.name}, fitted | scores)
    figures = ("shape_error", "trend_error", "c2st_boosted", "utility", "beta_recall", "dcr_share")
    print(
        folder.name,
        {n: (round(scores["synthetic"][n], 3), round(scores["floor"][n], 3)) for n in figures},
        flush=True,
    )


if __name__ == "__main__":
    main()
