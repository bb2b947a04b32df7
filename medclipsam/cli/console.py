"""How does a person follow a long run? One line that names the stage, on a terminal's stderr; nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Tell = Callable[[str, int, int], None]
"""Called with the stage, how much of it is done, and how much there is (0: not known)."""


@contextmanager
def progress(console: Console | None = None) -> Iterator[Tell]:
    """Show stages while the block runs; quiet when `console` (stderr) is not a terminal."""
    console = console or Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn()
    display = Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal)
    with display:
        task = display.add_task("starting", total=None)

        def tell(stage: str, done: int = 0, total: int = 0) -> None:
            display.update(task, description=stage, completed=done, total=total or None)

        yield tell
