"""Which part of the cases is this run's? Every file belongs to one of n shards, by its name alone.

    sha256("scan1-5f1d23ab") mod 3 = 1   ->   shard 2/3

A file's shard does not depend on the other files, so that jobs which start while the folder still grows miss none and
share none. All prompts of a file stay together: they share its encoding.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

from medclipsam.errors import BadInput

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
