"""Draws the line that names a run's stage, on a terminal, with rich."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

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
    from medclipsam import types


@contextmanager
def shown(console: Console | None, counting: str) -> Iterator[types.Progress]:
    """See `medclipsam.cli.console.progress`."""
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
