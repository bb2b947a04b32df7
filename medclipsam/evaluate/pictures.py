"""Draws where a mask is wrong: a small picture of one case, with its scan where there is one.

+-----------------+-----------------+
| scan, contours  | right, missed,  |     a volume shows the slice with the most wrong pixels
| of both masks   | too much        |
+-----------------+-----------------+
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from PIL import Image

from medclipsam.drawing.painter import CONTOUR, FRAME, INK, OUTSIDE, Bytes, fitted, joined, outline, resized, to_bytes
from medclipsam.errors import BadInput
from medclipsam.evaluate.pairs import FIRST_CHANNEL
from medclipsam.io import read_image
from medclipsam.runs.cases import IMAGE_SUFFIXES
from medclipsam.types import BoolArray, FloatArray

PANEL = 320
"""Largest side of a panel in pixels."""
REFERENCE, PREDICTED = FRAME, CONTOUR
RIGHT, MISSED, TOO_MUCH = (46, 128, 100), FRAME, OUTSIDE


@dataclass(frozen=True, eq=False, kw_only=True)
class Drawn:
    """A picture and what it shows."""

    picture: Image.Image
    slice_index: int | None
    """Slice of a volume, 0-based; None for a 2-D mask."""


def draw_case(predicted: BoolArray, reference: BoolArray, scan: FloatArray | None = None) -> Drawn:
    """The picture of one case.

    Args:
        predicted: (height, width), or (slices, height, width).
        reference: of the same size.
        scan: (height, width, 3) in [0, 1]; left out where its size is another.
    """
    index = None if predicted.ndim == 2 else _worst_slice(predicted, reference)
    if index is not None:
        predicted, reference = predicted[index], reference[index]
    size = fitted((predicted.shape[0], predicted.shape[1]), PANEL)
    panels = [_errors(predicted, reference, size)]
    if scan is not None and scan.shape[:2] == predicted.shape:
        panels.insert(0, _contours(predicted, reference, scan, size))
    return Drawn(picture=Image.fromarray(joined(panels)), slice_index=index)


class Scans:
    """The scans below a folder, found by what the cases are called.

    Args:
        folder: of anything that `medclipsam segment` reads.

    Raises:
        BadInput: no such folder, or no images in it.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise BadInput(f"there is no folder {folder}", "give the folder of the scans")
        self._by_path: dict[str, Path] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for path in sorted(folder.rglob("*")):
            suffix = next((end for end in IMAGE_SUFFIXES if path.name.lower().endswith(end)), None)
            if suffix and path.is_file():
                name = path.relative_to(folder).as_posix()[: -len(suffix)]
                self._by_path[name] = path
                self._by_stem.setdefault(PurePosixPath(name).name, []).append(path)
        if not self._by_path:
            raise BadInput(f"{folder} holds no images", "give the folder of the scans")

    def of(self, case: str) -> FloatArray | None:
        """(height, width, 3) in [0, 1] of the scan on the case's own path, with or without `_0000`, else the only one
        of its name.

        None where there is none, where it is a volume, and where it cannot be read.
        """
        alike: Sequence[Path] = self._by_stem.get(PurePosixPath(case).name, [])
        named = self._by_path.get(case) or self._by_path.get(f"{case}{FIRST_CHANNEL}")
        path = named or (alike[0] if len(alike) == 1 else None)
        try:
            return read_image(path).pixels if path else None
        except BadInput:
            return None


def _worst_slice(predicted: BoolArray, reference: BoolArray) -> int:
    """The slice with the most wrong pixels; with the most of the structure where none is wrong."""
    wrong = np.count_nonzero(predicted ^ reference, axis=(1, 2))
    return int(np.argmax(wrong if wrong.any() else np.count_nonzero(reference, axis=(1, 2))))


def _errors(predicted: BoolArray, reference: BoolArray, size: tuple[int, int]) -> Bytes:
    picture = np.full((*predicted.shape, 3), INK, np.uint8)
    for where, colour in (
        (predicted & reference, RIGHT),
        (reference & ~predicted, MISSED),
        (predicted & ~reference, TOO_MUCH),
    ):
        picture[where] = colour
    return _nearest(picture, size)


def _contours(predicted: BoolArray, reference: BoolArray, scan: FloatArray, size: tuple[int, int]) -> Bytes:
    picture = to_bytes(resized(scan, size))
    for mask, colour in ((reference, REFERENCE), (predicted, PREDICTED)):
        outline(picture, _nearest(mask.astype(np.uint8), size), colour)
    return picture


def _nearest(values: Bytes, size: tuple[int, int]) -> Bytes:
    """At another (height, width), without new values."""
    return np.asarray(
        cv2.resize(np.ascontiguousarray(values), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8
    )
