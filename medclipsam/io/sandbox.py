"""Reads a hostile file in a child process: if that dies, this file alone is refused.

    this process                                             child (sandbox_worker.py, see medclipsam.io.child)
        path, options, number of the picture    ---->        sniff, parse, decode, window
        pixels, warnings, spacing               <----
        the header, for the masks' geometry     only of files that the child could read

The pixels are those of the plain way, bit for bit. One child serves all files of a run, one picture at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.child import Child, ChildDied
from medclipsam.io.naming import case_name
from medclipsam.io.source import ReadOptions, Source
from medclipsam.types import FloatArray, MedImage

MEMORY_BYTES = 6 * 2**30
"""Largest address space of the child: the largest file that is read (4 GiB), and what its largest picture needs."""
TIMEOUT_S = 180.0
"""For one picture; gzipped volumes of the largest size take about a minute."""
CHILD = Child("medclipsam.io.sandbox_worker", memory_bytes=MEMORY_BYTES, timeout_s=TIMEOUT_S)
"""What all sandboxed sources of this process share."""
_PIXEL_BYTES, _VALUE_BYTES = 12, 8
_NUMBERS = count()


class SandboxedSource:
    """A scan whose pictures are decoded by the child.

    Args:
        path: the scan.
        options: how to read it, without a sandbox within.
        as_stored: see `medclipsam.io.reading.open_source`.
        opened: opens it in this process, without decoding; called only after the child did the same and lived.

    Raises:
        BadInput: what the plain way raises, and a file over which the child died or ran out of time or memory.
    """

    def __init__(self, path: Path, options: ReadOptions, as_stored: bool, opened: Callable[[], Source]) -> None:
        self._asked = {
            "path": str(path.absolute()),
            "options": asdict(options),
            "as_stored": as_stored,
            "number": next(_NUMBERS),
        }
        self._most_bytes = (_PIXEL_BYTES + _VALUE_BYTES) * options.max_pixels
        self.name = case_name(path)
        self._ask(None)
        self._source = opened()
        self.name, self.kind, self.unit = self._source.name, self._source.kind, self._source.unit
        self.count, self.places_mm = self._source.count, self._source.places_mm
        self.corners_lps = self._source.corners_lps

    def image(self, index: int) -> MedImage:
        """One picture, with the origin that this process read."""
        head, body = self._ask(index)
        pixels, values = _arrays(head, body)
        image = MedImage(
            pixels=pixels,
            name=str(head["name"]),
            format=str(head["format"]),
            spacing_mm=_pair(head["spacing_mm"]),
            warnings=tuple(str(warning) for warning in head["warnings"]),
            values=values,
            values_unit=None if head["values_unit"] is None else str(head["values_unit"]),
            plane_lps=None if head["plane_lps"] is None else np.array(head["plane_lps"], np.float64).reshape(3, 3),
            towards_left=_pair(head["towards_left"]),
        )
        return replace(image, origin=self.origin(index))

    def origin(self, index: int) -> Any:
        """What the writer of the mask needs."""
        return self._source.origin(index)

    def _ask(self, index: int | None) -> tuple[dict[str, Any], bytearray]:
        try:
            head, body = CHILD.ask({**self._asked, "index": index}, most_bytes=self._most_bytes)
        except ChildDied as error:
            raise BadInput(
                f"{self.name}: the process that reads it {error}", "the file is damaged or hostile"
            ) from error
        if "problem" in head:
            raise BadInput(str(head["problem"]), str(head["remedy"]))
        return head, body


def _arrays(head: dict[str, Any], body: bytearray) -> tuple[FloatArray, NDArray[Any] | None]:
    """(height, width, 3) of one or three channels, and behind them the stored values where there are any."""
    shape = head["shape"]
    end = 4 * int(np.prod(shape))
    pixels: FloatArray = np.frombuffer(body[:end], np.float32).reshape(shape)
    kind = None if head["values"] is None else np.dtype(str(head["values"]))
    values = None if kind is None or kind.kind not in "iuf" else np.frombuffer(body[end:], kind).reshape(shape[:2])
    return pixels if shape[2] == 3 else np.repeat(pixels, 3, axis=2), values


def _pair(spacing: list[float] | None) -> tuple[float, float] | None:
    return None if spacing is None else (float(spacing[0]), float(spacing[1]))
