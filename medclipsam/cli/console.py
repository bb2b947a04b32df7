"""How does a person follow a long run? One line that names the stage, on a terminal's stderr; nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Tell = Callable[[str, int, int], None]
"""Called with the stage, how much of it is done, and how much there is (0: not known)."""


@contextmanager
def progress(console: Console | None = None) -> Iterator[Tell]:
    """Show stages while the block runs; quiet when `console` (stderr) is not a terminal."""
    console = console or Console(stderr=True)
    stage, count = (TextColumn(f"{{task.{part}}}", markup=False) for part in ("description", "fields[count]"))
    columns = SpinnerColumn(), stage, BarColumn(24), count, TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as display:
        task = display.add_task("starting", total=None, count="")

        def tell(stage: str, done: int = 0, total: int = 0) -> None:
            told = f"{done}/{total}" if total else ""
            display.update(task, description=stage, completed=done, total=total or None, count=told)

        yield tell
