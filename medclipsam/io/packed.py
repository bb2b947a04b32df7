"""Opens files that may be packed with gzip, whatever they are called: the first bytes decide. Packs masks with it."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO, BinaryIO, cast

GZIP = b"\x1f\x8b"


def is_gzip(path: Path) -> bool:
    """Whether the file is a gzip stream."""
    with path.open("rb") as stream:
        return stream.read(len(GZIP)) == GZIP


def unpacked(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked where it is a gzip stream; the caller closes the stream.

    Raises:
        OSError: the file cannot be opened. Damage of a gzip stream shows when it is read.
    """
    return cast(BinaryIO, gzip.open(path)) if is_gzip(path) else path.open("rb")


def packed(stream: IO[bytes]) -> gzip.GzipFile:
    """A stream that packs with gzip into another, without name and time: the same content gives the same bytes."""
    return gzip.GzipFile("", "wb", compresslevel=6, fileobj=stream, mtime=0)
