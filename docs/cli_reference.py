"""Write docs/cli.md from the commands themselves: python docs/cli_reference.py."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from tabdar_pipeline.cli import app

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# Command line

`tabdar` reads and writes .parquet, .csv and .duckdb files (with `--table schema.table`). Progress goes to stderr, the
result to stdout; `--json` prints it as one JSON object. Outputs are checked before any work, and
[replaced whole](decisions/0003-overwriting.md). This page is written by `make docs`.

| exit code | means |
|---|---|
| 0 | done |
| 1 | refused or failed: the message says what and what to do |
| 2 | wrong usage |
| 130 | interrupted; nothing was published or replaced |
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(section(words, command) for words, command in commands(typer.main.get_command(app)))


def commands(command: Any, words: tuple[str, ...] = ("tabdar",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below this one, with the words that call it."""
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, below in command.commands.items():
        yield from commands(below, (*words, name))


def section(words: tuple[str, ...], command: Any) -> str:
    """One command: how it is called, what it does, its arguments and options."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    call = [*words, *(shown(p) if p.required else f"[{shown(p)}]" for p in arguments)]
    options = [p for p in command.params if p not in arguments and shown(p) != "--help"]
    rows = "".join(f"| `{shown(p)}` | {p.help} |\n" for p in [*arguments, *options])
    return f"\n## {' '.join(words)}\n\n`{' '.join(call)}`\n\n{command.help}\n\n| | |\n|---|---|\n{rows}"


def shown(parameter: Any) -> str:
    """MODEL_DIR or --seed."""
    return str(parameter.name.upper() if parameter.param_type_name == "argument" else parameter.opts[0])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
