"""Tells a person, or a program: a run by one line that names the stage, its outcome as JSON and exit code.

The line is for a terminal's stderr; elsewhere nothing is shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

NOTHING_READ = 3
"""Exit code where there was something to read, and none or not even half of it could be."""
TABLES = (".csv", ".json")
Tell = Callable[[str, int, int], None]
"""Called with the stage, how much of it is done, and how much there is (0: not known)."""


def number_of(count: int, thing: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def json_of(outcome: DataclassInstance, **more: Any) -> str:
    """What a command came to, for programs: its fields and more, or others in their place."""
    return json.dumps({**asdict(outcome), **more}, indent=2, default=str)


def raise_nothing_read(read: int, total: int, source: Path, table: Path | None = None) -> None:
    """End with `NOTHING_READ` where not one of all could be read, or where most that a table names could not.

    In a folder some files may well be broken; a table whose rows are refused was written for other files.
    """
    from_table = table is not None or source.suffix.lower() in TABLES
    if total and (not read or (from_table and read < total / 2)):
        raise typer.Exit(NOTHING_READ)


@contextmanager
def progress(console: Console | None = None, *, counting: str = "") -> Iterator[Tell]:
    """Show stages while the block runs; quiet when `console` (stderr) is not a terminal.

    Args:
        console: where to.
        counting: what is counted, such as `case`: its rate and the time left are shown in place of the time gone by.
    """
    console = console or Console(stderr=True)
    stage, count = (TextColumn(f"{{task.{part}}}", markup=False) for part in ("description", "fields[count]"))
    times = (Rate(counting), TimeRemainingColumn()) if counting else (TimeElapsedColumn(),)
    columns = SpinnerColumn(), stage, BarColumn(24), count, *times
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as display:
        task = display.add_task("starting", total=None, count="")

        def tell(stage: str, done: int = 0, total: int = 0) -> None:
            (shown,) = display.tasks
            is_new = stage != shown.description
            shown.total = total or None  # `update` cannot take a total away
            count = f"{done}/{total}" if total else ""
            display.update(task, description=stage, completed=done, count=count, refresh=is_new)

        yield tell


class Rate(ProgressColumn):
    """Things in a second, or seconds for one, of late."""

    def __init__(self, thing: str) -> None:
        super().__init__()
        self._thing = thing

    def render(self, task: Task) -> Text:
        """Empty until it is known, and where nothing is counted."""
        speed = task.finished_speed or task.speed
        if not speed or task.total is None:
            return Text("")
        return Text(f"{speed:.1f} {self._thing}s/s" if speed >= 1 else f"{1 / speed:.1f} s a {self._thing}")
