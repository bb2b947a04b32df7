"""Keeps folders for a while: each has an id, and the one that was used longest ago goes first.

root/ID/...        gone after `seconds` without use, or when there are too many of them, or too many bytes
"""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from time import monotonic
from typing import Generic, TypeVar

Held = TypeVar("Held")


@dataclass
class _Entry(Generic[Held]):
    held: Held
    folder: Path | None
    """None where what is held lies in a folder of the person's."""
    size: int
    users: int = 0
    forgotten: bool = False
    used: float = field(default_factory=monotonic)


class Kept(Generic[Held]):
    """Things by their id, each with the folder that goes with it.

    Args:
        most: how many are kept.
        most_bytes: how much of the disk all of them take.
        seconds: how long one is kept without use.
    """

    def __init__(self, *, most: int, most_bytes: int, seconds: float) -> None:
        self.seconds = seconds
        self._most, self._most_bytes = most, most_bytes
        self._entries: OrderedDict[str, _Entry[Held]] = OrderedDict()
        self._lock = RLock()

    def add(self, key: str, held: Held, folder: Path | None = None) -> bool:
        """Keep one more; whether it is new: what is kept under this id already stays, and the new folder goes."""
        with self._lock:
            if key in self._entries:
                _remove(folder)
                self._touch(key)
                return False
            self._entries[key] = _Entry(held, folder, _size(folder))
        self.sweep()
        return True

    @contextmanager
    def use(self, key: str) -> Iterator[Held]:
        """One of those that are kept; it stays while the block runs.

        Raises:
            KeyError: it is not kept, or no more.
        """
        self.sweep()
        with self._lock:
            entry = self._entries[key]
            entry.users += 1
            self._touch(key)
        try:
            yield entry.held
        finally:
            with self._lock:
                entry.users -= 1
                entry.used = monotonic()
                self._let_go(key)

    def drop(self, key: str) -> None:
        """Keep one no more.

        Raises:
            KeyError: it is not kept.
        """
        with self._lock:
            _remove(self._entries.pop(key).folder)

    def forget(self, key: str) -> None:
        """Keep one no more, from when nobody uses it; one that is gone already is no matter."""
        with self._lock:
            if key in self._entries:
                self._entries[key].forgotten = True
                self._let_go(key)

    def sweep(self) -> None:
        """Let go what is old or too much."""
        with self._lock:
            for key in [key for key, entry in self._entries.items() if self._is_old(entry)]:
                self.drop(key)
            idle = [key for key, entry in self._entries.items() if not entry.users]
            for key in idle[:-1]:
                if len(self._entries) <= self._most and self._bytes() <= self._most_bytes:
                    break
                self.drop(key)

    def _let_go(self, key: str) -> None:
        entry = self._entries.get(key)
        if entry and entry.forgotten and not entry.users:
            self.drop(key)

    def _is_old(self, entry: _Entry[Held]) -> bool:
        return not entry.users and monotonic() - entry.used > self.seconds

    def _bytes(self) -> int:
        return sum(entry.size for entry in self._entries.values())

    def _touch(self, key: str) -> None:
        self._entries[key].used = monotonic()
        self._entries.move_to_end(key)


def _size(folder: Path | None) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder else 0


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
