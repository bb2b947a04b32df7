"""Tells a person, or a program: a run by one line that names the stage, its outcome as words, tables or JSON.

Everything that the command line says goes through here. The line of a run is for a terminal's stderr; elsewhere nothing
is shown, and what draws it is not loaded. What libraries print while they work goes to stderr as well, so that stdout
holds the outcome alone.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from medclipsam.errors import MissingExtra

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from rich.console import Console

    from medclipsam.types import Progress

NOTHING_READ = 3
"""Exit code where there was something to read, and none or not even half of it could be."""
TABLES = (".csv", ".json")


def replace_what_cannot_be_shown() -> None:
    """Let stdout show `?` for a character that it has not, in place of failing when the work is done."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def say(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Write a text on stdout, or on stderr."""
    stream = sys.stderr if err else sys.stdout
    stream.write(text + end)
    stream.flush()


def say_json(text: str) -> None:
    """Write JSON on stdout; where the console has not all of its characters, as escapes, so that nothing is lost."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(json.loads(text), indent=2)
    say(text)


def say_table(head: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Write rows below the names of their columns on stdout; with a title framed, numbers to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    framed = title is not None
    table = Table(title=Text(title or ""), title_justify="left") if framed else Table(box=None, pad_edge=False)
    for index, column in enumerate(head):
        table.add_column(Text(column), justify="right" if index and framed else "left")
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    Console().print(table)


@contextmanager
def stdout_for_the_outcome() -> Iterator[None]:
    """While the block runs, what libraries and their processes print on stdout goes to stderr."""
    sys.stdout.flush()
    with redirect_stdout(sys.stderr), _descriptor_one_to_two():
        yield


@contextmanager
def _descriptor_one_to_two() -> Iterator[None]:
    """Libraries in C and processes that they start know nothing of Python's streams."""
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # a process without streams
        yield
        return
    try:
        yield
    finally:
        _flush_c()
        os.dup2(kept, 1)
        os.close(kept)


def _flush_c() -> None:
    """What C has printed and still holds back would come out at the end, after the outcome."""
    try:
        ctypes.CDLL(None).fflush(None)
    except (OSError, TypeError, AttributeError):  # Windows knows no such handle
        return


def number_of(count: int, thing: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def json_of(outcome: DataclassInstance, **more: Any) -> str:
    """What a command came to, for programs: its fields and more, or others in their place."""
    return json.dumps({**asdict(outcome), **more}, indent=2, default=str)


def need_extra(command: str, extra: str, *modules: str) -> None:
    """Refuse a command whose optional packages are missing.

    Raises:
        MissingExtra: one of the modules is not installed.
    """
    if any(find_spec(module) is None for module in modules):
        raise MissingExtra(f"`medclipsam {command}`", extra)


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
    with stdout_for_the_outcome():
        if console is None and not sys.stderr.isatty():
            yield _quiet
            return
        from medclipsam.cli.progress_line import shown

        with shown(console, counting) as tell:
            yield tell


def _quiet(stage: str, done: int = 0, total: int = 0) -> None:
    """Nobody watches."""
