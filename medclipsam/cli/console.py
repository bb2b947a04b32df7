"""Tells a person, or a program: a run by one line that names the stage, its outcome as JSON and exit code.

The line is for a terminal's stderr; elsewhere nothing is shown, and what draws it is not loaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from rich.console import Console

    from medclipsam.types import Progress

NOTHING_READ = 3
"""Exit code where there was something to read, and none or not even half of it could be."""
TABLES = (".csv", ".json")


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
def progress(console: Console | None = None, *, counting: str = "") -> Iterator[Progress]:
    """Show stages while the block runs; quiet when `console` (stderr) is not a terminal.

    Args:
        console: where to.
        counting: what is counted, such as `case`: its rate and the time left are shown in place of the time gone by.
    """
    if console is None and not sys.stderr.isatty():
        yield _quiet
        return
    from medclipsam.cli.progress_line import shown

    with shown(console, counting) as tell:
        yield tell


def _quiet(stage: str, done: int = 0, total: int = 0) -> None:
    """Nobody watches."""
