"""Holds the planes of a DICOM SEG until all are there: packed, then frame by frame in files.

    mask (height, width)         ->   a bit for each pixel          8 frames at a time   ->   bits, without a gap
    probability (height, width)  ->   a byte for each pixel         8 frames at a time   ->   bytes
    of a label map                    as masks                      plane by plane       ->   numbers of segments

What waits is in memory while it is little, else in a temporary file: a long series needs the memory of a short one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MOST = 255
"""Stands for the probability 1."""
IN_MEMORY_BYTES = 2**23
"""Bytes of one series that wait in memory."""
Frame = tuple[str, int | None]
"""A prompt, and the number of a plane; None: an empty one."""


class Planes:
    """What prompts found on pictures of one size.

    Args:
        fractional: keep probabilities in 255 steps in place of masks.
    """

    def __init__(self, *, fractional: bool = False) -> None:
        self._fractional = fractional
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  closed when it is forgotten
        self._places: dict[str, list[int | None]] = {}
        self._content: dict[str, Any] = {}
        self._end = 0
        self.size = (0, 0)

    @property
    def prompts(self) -> list[str]:
        """In the order in which they came."""
        return list(self._places)

    def count(self, prompt: str) -> int:
        """How many planes it has."""
        return len(self._places[prompt])

    def put(self, prompt: str, values: NDArray[Any]) -> None:
        """Keep the next plane of a prompt, (height, width) of booleans, or of numbers in [0, 1]."""
        self.size = values.shape[0], values.shape[1]
        kept = np.rint(values.astype(np.float32) * MOST).astype(np.uint8) if self._fractional else np.packbits(values)
        packed = kept.tobytes() if kept.any() else b""
        self._content.setdefault(prompt, hashlib.sha256()).update(packed or b"empty")
        self._places.setdefault(prompt, []).append(self._end if packed else None)
        self._end += len(packed)
        self._file.write(packed)

    def digest(self, prompt: str) -> str:
        """Hash of all its planes."""
        return str(self._content[prompt].hexdigest())

    def filled(self, prompt: str, number: int) -> bool:
        """Whether there is anything on a plane."""
        return self._places[prompt][number] is not None

    def pixels(self, frame: Frame) -> NDArray[np.uint8]:
        """(height, width): 0 and 1, or 0 to 255."""
        prompt, number = frame
        place = None if number is None else self._places[prompt][number]
        pixels = self.size[0] * self.size[1]
        if place is None:
            return np.zeros(self.size, np.uint8)
        self._file.seek(place)
        packed = np.frombuffer(self._file.read(pixels if self._fractional else -(-pixels // 8)), np.uint8)
        self._file.seek(self._end)
        return (packed if self._fractional else np.unpackbits(packed, count=pixels)).reshape(self.size)

    def write(self, frames: Iterable[Frame], file: IO[bytes]) -> None:
        """Write frames as native pixel data (PS3.5 8.1 and 8.2), of an even number of bytes."""
        for some in _in_eights(frames):
            pixels = np.stack([self.pixels(frame) for frame in some])
            file.write((pixels if self._fractional else np.packbits(pixels, bitorder="little")).tobytes())
        _make_even(file)

    def write_numbers(
        self, planes: Iterable[int | None], file: IO[bytes], dtype: type[np.unsignedinteger[Any]]
    ) -> None:
        """Write planes on which each pixel has the number of the prompt that it belongs to, 0 for none."""
        for plane in planes:
            numbers = np.zeros(self.size, dtype)
            for number, prompt in enumerate(self._places, 1):
                numbers[self.pixels((prompt, plane)) > 0] = number
            file.write(numbers.astype(numbers.dtype.newbyteorder("<")).tobytes())
        _make_even(file)


def _in_eights(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    """Together they fill whole bytes, however many pixels one has."""
    coming = iter(frames)
    while some := list(islice(coming, 8)):
        yield some


def _make_even(file: IO[bytes]) -> None:
    if file.tell() % 2:
        file.write(b"\0")
