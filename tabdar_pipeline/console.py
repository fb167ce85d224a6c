"""What a command shows: progress on stderr, its result on stdout."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typer

Tell = Callable[[float, str], None]  # share done (0 to 1), note


def say(facts: Mapping[str, Any], sentence: str, *, as_json: bool) -> None:
    """The result: one JSON object for a script, or a sentence for a person."""
    typer.echo(json.dumps(facts) if as_json else sentence)


@contextlib.contextmanager
def progress_bar(title: str, *, shown: bool = True) -> Iterator[Tell]:
    """A progress bar with remaining time on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        task = progress.add_task(title, total=1.0, note="")
        yield lambda share, note: progress.update(task, completed=min(share, 1.0), note=note)
