"""Coverage-guided fuzzing of what somebody hands us: a contract, the JSON of a model directory, a condition in SQL.

    python benchmarks/fuzz.py CONTRACT MODEL --seconds 60 --python ATHERIS_PYTHON

ATHERIS_PYTHON has atheris (3.0 on Python 3.11) and the package's own requirements. Inputs begin with a contract that `tabdar contract` wrote, the
files of a model directory, and conditions on its columns. Trees (YAML, JSON) are mutated as trees, so that they stay readable and reach what reads
them; conditions as text, with words of SQL. Whatever comes, the answer must be an object or an error of ours. Exit status 1 where it was another.
"""

import argparse
import contextlib
import copy
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).parent / "results" / "fuzz.json"
TARGETS = ("contract", "model", "condition")
JSON = ("model.json", "schema.json", "codec.json", "manifest.json")
ODD = (
    None,
    True,
    False,
    0,
    -1,
    0.5,
    1e308,
    float("nan"),
    2**70,
    "",
    "x",
    "\0",
    "../x",
    "'; DROP TABLE t --",
    [],
    {},
    [[]],
    {"": None},
)
CONDITIONS = (
    "{0} = 1 AND {1} BETWEEN 2 AND 3",
    "{0} IN ('a', 'b') AND NOT {1} IS NULL",
    "({0} >= -1.5 AND {1} < '2024-01-01') AND {0} <> 'x'",
    "CAST({0} AS DOUBLE) > 1e3 AND 5 <= {1}",
    "({0} NOT BETWEEN SYMMETRIC 3 AND 1 OR {0} IS NULL) AND {1} IS DISTINCT FROM 2",
    "{0} LIKE 'a%' AND {1} > DATE '2024-01-01' + INTERVAL 1 DAY",
)
WORDS = "AND OR NOT IN IS NULL BETWEEN LIKE CAST AS DATE INTERVAL SELECT FROM EXISTS CASE WHEN END ( ) '' \"\" -- ; :: {} [] -> * % $1 ? @"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("contract", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--target", choices=TARGETS, help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.target:
        attack(args)
        return
    found = [fuzzed(args, target) for target in TARGETS]
    RECORDS.write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))
    raise SystemExit(any(it["crashes"] for it in found))


def fuzzed(args: argparse.Namespace, target: str) -> dict:
    """One target in a process of its own: libFuzzer ends the process that it runs in."""
    from quality import machine

    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "corpus"
        corpus.mkdir()
        for i, seed in enumerate(seeds(args, target)):
            (corpus / str(i)).write_bytes(seed)
        (Path(scratch) / "words").write_text("\n".join(json.dumps(f" {it} ") for it in WORDS.split()))
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


def seeds(args: argparse.Namespace, target: str) -> Iterator[bytes]:
    """What inputs begin with. A file of a model is behind a byte that says which it is."""
    if target == "contract":
        yield args.contract.read_bytes()
    elif target == "model":
        yield from (bytes([i]) + (args.model / name).read_bytes() for i, name in enumerate(JSON))
    else:
        names = [f'"{it["name"]}"' for it in json.loads((args.model / "schema.json").read_text())["columns"]]
        yield from (it.format(*names[i : i + 2]).encode() for it in CONDITIONS for i in range(len(names) - 1))


def attack(args: argparse.Namespace) -> None:
    """Until the time is up, or something else than an error of ours is raised."""
    import atheris

    with atheris.instrument_imports(include=["tabdar_pipeline"]):
        from tabdar_pipeline import checkpoint
        from tabdar_pipeline.conditions import resolve
        from tabdar_pipeline.errors import TabdarError
        from tabdar_pipeline.predicates import parse
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

    known = checkpoint.describe(args.model)

    def read_condition(data: bytes) -> None:
        with contextlib.suppress(TabdarError):
            resolve(known.codec, known.schema, parse(data.decode("utf-8", "ignore"), known.schema))

    read = {"contract": read_contract, "model": read_model, "condition": read_condition}[args.target]
    words = [f"-max_total_time={args.seconds}", "-max_len=60000", "-timeout=20", "-dict=words"]
    trees = {"contract": mutated_yaml, "model": mutated_json}
    atheris.Setup([sys.argv[0], *words, str(args.corpus)], read, custom_mutator=trees.get(args.target))
    atheris.Fuzz()


def mutated_yaml(data: bytes, limit: int, seed: int) -> bytes:
    """A contract with one node of its tree changed; one that is no YAML is left to libFuzzer."""
    import yaml

    return mutated(data, limit, seed, yaml.safe_load, lambda tree: yaml.safe_dump(tree, sort_keys=False))


def mutated_json(data: bytes, limit: int, seed: int) -> bytes:
    """Likewise for a file of a model, behind the byte that says which."""
    return data[:1] + mutated(data[1:], limit - 1, seed, json.loads, json.dumps)


def mutated(
    data: bytes, limit: int, seed: int, read: Callable[[str], Any], write: Callable[[Any], str]
) -> bytes:
    import atheris
    import yaml

    chance = random.Random(seed)
    if chance.random() < 0.1:
        return atheris.Mutate(data, limit)
    try:
        tree = read(data.decode())
    except (ValueError, RecursionError, yaml.YAMLError):  # what libFuzzer made of it is no tree any more
        return atheris.Mutate(data, limit)
    for _ in range(chance.choice([1, 1, 2, 4])):
        change(tree, chance)
    return write(tree).encode()[:limit]


def change(tree: Any, chance: random.Random) -> None:
    """Put something odd at one place, take the place away, or put there what is elsewhere."""
    places = [*branches(tree)]
    if not places:
        return
    branch, key = chance.choice(places)
    how = chance.random()
    if how < 0.2:
        del branch[key]
    elif how < 0.6:
        branch[key] = copy.deepcopy(chance.choice(ODD))
    else:
        other, there = chance.choice(places)
        branch[key] = copy.deepcopy(other[there])


def branches(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a tree, as what holds it and its key there."""
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from branches(tree[key])


if __name__ == "__main__":
    main()
