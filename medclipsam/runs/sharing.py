"""Shares a folder between runs: which cases are whose, and who works in it; a dead process holds nothing.

    sha256("scan1-5f1d23ab") mod 3 = 1   ->   shard 2/3

    .lock             held by a whole run from begin to end; by a shard for the moment in which it joins the results
    .lock-2-of-3      held by that shard, or by that worker of a whole run on Ray, from begin to end

Every file belongs to one of n shards, by its name alone: jobs which start while the folder still grows miss none and
share none. All prompts of a file stay together, for they share its encoding.

The operating system drops a lock when its process dies, however it dies, so what a crash leaves behind is no obstacle.
Where a file system knows no locks, the `filelock` package falls back to files that name their process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from medclipsam.errors import BadInput, CannotWrite

LOCK = ".lock"
JOINING_S = 10.0
"""How long a shard that begins waits for another that is joining the results."""
WAIT = "wait until it ends, or choose another folder"
QUEUE_S = 600.0
"""How long a shard that ends waits for others that end at the same time."""
MOST = 10_000


@dataclass(frozen=True)
class Shard:
    """Part `index` (from 1) of `count`; 1/1 is everything.

    Raises:
        BadInput: an index that is not one of the parts.
    """

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count <= MOST:
            raise BadInput(f"shard {self.index}/{self.count} does not exist", f"give i/n with 1 <= i <= n <= {MOST:,}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """`2/3` as the second of three.

        Raises:
            BadInput: anything else.
        """
        index, slash, count = text.partition("/")
        if not (slash and index.isascii() and index.isdecimal() and count.isascii() and count.isdecimal()):
            raise BadInput(f"shard {text[:20]!r} is not i/n", "give for example 2/3, the second of three parts")
        return cls(int(index), int(count))

    @property
    def is_whole(self) -> bool:
        """Whether this is everything."""
        return self.count == 1

    def holds(self, case: str) -> bool:
        """Whether the case of this name is in this part."""
        digest = hashlib.sha256(case.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1


WHOLE = Shard()


@contextmanager
def claimed(folder: Path, shard: Shard) -> Iterator[None]:
    """Hold a folder (it is made) while the block runs.

    Raises:
        CannotWrite: another run holds it, or it cannot be made or locked.
    """
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.callback(_lock(folder / _name(shard)).release)
            if shard.is_whole:
                busy = _others(folder, shard)
            else:
                _lock(folder / LOCK, JOINING_S).release()
                busy = False
        except Timeout:
            busy = True
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise CannotWrite(f"{folder} cannot be locked ({reason})", "choose another output folder") from error
        if busy:
            raise CannotWrite(f"another run is writing to {folder}", WAIT)
        yield


@contextmanager
def alone(folder: Path, shard: Shard) -> Iterator[bool]:
    """Within `claimed`: keep others from beginning while the block runs; False where some are at work already."""
    if shard.is_whole:
        yield True
        return
    try:
        lock = _lock(folder / LOCK, QUEUE_S)
    except Timeout:
        yield False
        return
    try:
        yield not _others(folder, shard)
    finally:
        lock.release()


def taking_part(folder: Path, part: Shard) -> FileLock:
    """Hold the place of one worker of a whole run, until it is released or this process ends.

    While it is held no other run begins, even where the process that leads this one is gone.

    Raises:
        CannotWrite: a worker of another run holds it, or it cannot be locked.
    """
    try:
        return _lock(folder / _name(part), JOINING_S)
    except Timeout as error:
        raise CannotWrite(f"another run is writing to {folder}", WAIT) from error


def _others(folder: Path, shard: Shard) -> bool:
    """Whether other shards are at work."""
    for path in folder.glob(f"{LOCK}-*-of-*"):
        if path.name == _name(shard):
            continue
        try:
            _lock(path).release()
        except Timeout:
            return True
    return False


def _name(shard: Shard) -> str:
    return LOCK if shard.is_whole else f"{LOCK}-{shard.index}-of-{shard.count}"


def _lock(path: Path, timeout_s: float = 0.0) -> FileLock:
    """The lock, held.

    Raises:
        Timeout: somebody else holds it.
    """
    lock = FileLock(path, timeout=timeout_s)
    lock.acquire()
    return lock
