"""Remembers in the process what was made of the images seen last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Latest(Generic[Made]):
    """What was made of the images seen last, by their digests; threads may share it."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, Made] = OrderedDict()
        self._lock = Lock()

    def of(self, digests: Iterable[str]) -> dict[str, Made]:
        """What is remembered of these images."""
        with self._lock:
            return {digest: self._made[digest] for digest in digests if digest in self._made}

    def keep(self, made: Mapping[str, Made], most: int) -> None:
        """Remember these as the last, and forget those that were seen before the last `most`."""
        with self._lock:
            for digest, one in made.items():
                self._made[digest] = one
                self._made.move_to_end(digest)
            while len(self._made) > most:
                self._made.popitem(last=False)
