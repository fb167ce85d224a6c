"""Coverage-guided fuzzing of what reads files that somebody hands us: a contract, and the JSON of a model directory.

    python benchmarks/fuzz.py CONTRACT MODEL --seconds 60 --python ATHERIS_PYTHON

ATHERIS_PYTHON has atheris (3.0 on Python 3.11) and the package's own requirements. Inputs begin with a contract that `tabdar contract` wrote and the
files of a model directory. Whatever comes, the answer must be an object or an error of ours. Exit status 1 where it was another.
"""

import argparse
import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RECORDS = Path(__file__).parent / "results" / "fuzz.json"
JSON = ("model.json", "schema.json", "codec.json", "manifest.json")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("contract", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--target", choices=["contract", "model"], help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.target:
        attack(args)
        return
    found = [fuzzed(args, target) for target in ("contract", "model")]
    RECORDS.write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))
    raise SystemExit(any(it["crashes"] for it in found))


def fuzzed(args: argparse.Namespace, target: str) -> dict:
    """One target in a process of its own: libFuzzer ends the process that it runs in."""
    from quality import machine

    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "corpus"
        corpus.mkdir()
        if target == "contract":
            shutil.copy(args.contract, corpus)
        else:
            for i, name in enumerate(JSON):
                (corpus / name).write_bytes(bytes([i]) + (args.model / name).read_bytes())
        words = [str(args.contract), str(args.model), "--seconds", str(args.seconds), "--target", target]
        done = subprocess.run(
            [args.python, str(Path(__file__).resolve()), *words, "--corpus", str(corpus)],
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        crashes = [path.name for path in Path(scratch).glob("crash-*")]
    runs = re.search(r"Done (\d+) runs in (\d+) second", done.stderr)
    if runs is None and not crashes:
        raise SystemExit(done.stderr[-3000:])
    return {
        "target": target,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"tabdar-pipeline": version("tabdar-pipeline")},
        "seconds": args.seconds,
        "runs": int(runs[1]) if runs else None,
        "covered": max((int(it) for it in re.findall(r"cov: (\d+)", done.stderr)), default=0),
        "crashes": len(crashes),
        "said": done.stderr[-1500:] if crashes else "",
    }


def attack(args: argparse.Namespace) -> None:
    """Until the time is up, or something else than an error of ours is raised."""
    import atheris

    with atheris.instrument_imports(include=["tabdar_pipeline"]):
        from tabdar_pipeline import checkpoint
        from tabdar_pipeline.errors import TabdarError
        from tabdar_pipeline.schemas.contract import Contract

    folder = Path(tempfile.mkdtemp(dir="/dev/shm")) / "model"

    def read_contract(data: bytes) -> None:
        with contextlib.suppress(TabdarError):
            Contract.from_yaml(data.decode("utf-8", "ignore"))

    def read_model(data: bytes) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(args.model, folder)
        name = JSON[(data[0] if data else 0) % len(JSON)]
        (folder / name).write_bytes(data[1:])
        try:
            if name != checkpoint.MANIFEST:
                checkpoint.seal(folder)
            checkpoint.describe(folder)
        except TabdarError:
            pass

    read = read_contract if args.target == "contract" else read_model
    atheris.Setup([sys.argv[0], f"-max_total_time={args.seconds}", "-max_len=20000", str(args.corpus)], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
