"""Reads the voxels of a file where they are asked for: plain, unpacked on the way, or written as text.

    raw         an open file, read at a place
    deflate     zlib or gzip, unpacked from a place on, never as a whole
    text        numbers between blanks, up to `MAX_TEXT_BYTES` of them

Voxels that are packed can be read forward only: going back starts anew, as with any .nii.gz.
"""

from __future__ import annotations

import io
import weakref
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from nibabel.arrayproxy import ArrayProxy

from medclipsam.errors import BadInput
from medclipsam.io.limits import check_held

Packing = Literal["raw", "deflate", "text"]
MAX_TEXT_BYTES = 2**25
"""Largest text of voxels, which is read at once."""
CHUNK_BYTES = 2**16
_EITHER_WRAPPER = zlib.MAX_WBITS + 32
"""zlib and gzip wrap the same stream; the first bytes tell which it is."""
_GZIP = b"\x1f\x8b"


class Unpacked(io.RawIOBase):
    """What a zlib or gzip stream in a file unpacks to.

    Args:
        path: the file; it is opened by the first read.
        start: where the stream starts.
    """

    def __init__(self, path: Path, start: int) -> None:
        self._path, self._start = path, start
        self._file: io.BufferedReader | None = None
        self._rewind()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """By reading on, or from the start."""
        return True

    def tell(self) -> int:
        """How many bytes were unpacked so far."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place counted from the start or from here."""
        target = offset + (self._at if whence == io.SEEK_CUR else 0)
        if target < self._at:
            self._rewind()
        while self._at < target and self.read(min(CHUNK_BYTES * 16, target - self._at)):
            pass
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Unpack as many bytes as the buffer holds, fewer only at the end.

        Raises:
            EOFError: the file is cut off.
            zlib.error: it is damaged.
        """
        view, filled = memoryview(buffer).cast("B"), 0
        while some := self._next(len(view) - filled):
            view[filled : filled + len(some)] = some
            filled += len(some)
        self._at += filled
        return filled

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
        super().close()

    def _rewind(self) -> None:
        self._at, self._packed = 0, b""
        self._engine = zlib.decompressobj(_EITHER_WRAPPER)
        if self._file is not None:
            self._file.seek(self._start)

    def _next(self, most: int) -> bytes:
        while most:
            if self._engine.eof and not self._next_member():
                return b""
            self._packed = self._packed or self._more()
            some = self._engine.decompress(self._packed, most)
            self._packed = self._engine.unconsumed_tail
            if some:
                return some
        return b""

    def _next_member(self) -> bool:
        """gzip files may be made of several; what else follows is no more of it."""
        rest = self._engine.unused_data
        rest = rest if len(rest) >= len(_GZIP) else rest + self._read()
        if not rest.startswith(_GZIP):
            return False
        self._engine, self._packed = zlib.decompressobj(_EITHER_WRAPPER), rest
        return True

    def _more(self) -> bytes:
        some = self._read()
        if not some:
            raise EOFError("the stream ends before its end")
        return some

    def _read(self) -> bytes:
        if self._file is None:
            self._file = self._path.open("rb")
            self._file.seek(self._start)
        return self._file.read(CHUNK_BYTES)


@dataclass(frozen=True, kw_only=True)
class Held:
    """Where a file holds its voxels."""

    path: Path
    start: int = 0
    """The byte at which they, or what they are packed into, start."""
    packing: Packing = "raw"
    skipped: int = 0
    """Bytes before the voxels in what is unpacked."""


def voxels_in(name: str, held: Held, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> ArrayProxy:
    """The voxels of a file, in Fortran order, none of them read yet unless they are text.

    Args:
        name: the case id to speak of.
        held: where they are.
        shape: of the volume.
        dtype: with its byte order.

    Raises:
        BadInput: more voxels than the file can hold, or than are read.
    """
    count = int(np.prod(shape, dtype=object))
    each, packed = (2, False) if held.packing == "text" else (dtype.itemsize, held.packing == "deflate")
    there = held.path.stat().st_size - held.start + (held.packing == "text")
    check_held(name, held.skipped + count * each, there, packed=packed)
    if held.start < 0:
        raise BadInput(f"{name}: the header says that the voxels start before the file does", "it is damaged")
    if held.packing == "text":
        native = dtype.newbyteorder("=")
        return ArrayProxy(_from_text(name, held, count, native), (shape, native))
    if packed:
        return proxy(Unpacked(held.path, held.start), (shape, dtype, held.skipped))
    return proxy(held.path.open("rb"), (shape, dtype, held.start))


def proxy(stream: IO[bytes] | io.IOBase, spec: tuple[Any, ...]) -> ArrayProxy:
    """An array in a stream, which is closed with the array."""
    array = ArrayProxy(stream, spec)
    weakref.finalize(array, stream.close)
    return array


def _from_text(name: str, held: Held, count: int, dtype: np.dtype[Any]) -> io.BytesIO:
    with held.path.open("rb") as stream:
        stream.seek(held.start)
        text = stream.read(MAX_TEXT_BYTES + 1)
    if len(text) > MAX_TEXT_BYTES:
        raise BadInput(f"{name}: more than {MAX_TEXT_BYTES:,} bytes of voxels written as text", "save them packed")
    numbers = np.fromstring(text, dtype, sep=" ")
    if len(numbers) != count:
        raise BadInput(f"{name}: the header claims {count:,} voxels, the text has {len(numbers):,}", "it is damaged")
    return io.BytesIO(numbers.tobytes())
