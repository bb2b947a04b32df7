"""Leaves a drawn border out of what the model sees, and puts the answer back on the whole image.

    +-----------------+
    |:::::::::::::::::|      letterboxes, frames of screenshots, the black around a film: lines of one value,
    |:::+---------+:::|      from the edge of the image up to a line that differs along its length
    |:::|  image  |:::|
    |:::+---------+:::|
    |:::::::::::::::::|
    +-----------------+

The air around a head is as black, but a head is round: it meets the first line beside the air in a few pixels, while a
drawn border ends everywhere at once. So a side counts only where `FILLED` of that line differs from it, and MRI and CT
with air around the body are seen as they are. So are the octagons and circles of endoscopes: the shipped weights were
taught with them and miss polyps without (`benchmarks/borders.py`). Nothing that can be seen is cut: all that goes is of
one value within `NOISE`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from medclipsam.types import Box, FloatArray, Hints, MedImage, Points, Segmentation

Span = tuple[int, int]
"""From the first up to but without the second."""
Kind = TypeVar("Kind", bound=np.generic)
NOISE = 10 / 255
"""Largest distance of a value from its border's: what JPEG leaves in a black margin."""
FILLED = 0.85
"""Share of the line beside a border, between those at its ends, that differs from it. Two lines behind the border it is
0.4 at most around heads in air, 0.7 beside an endoscope's octagon, 1 beside a straight frame."""
LOOK = 8
"""Lines behind the last uniform one among which the filled one is looked for: JPEG smears an edge over a block."""
LEAST = 0.02
"""Share of a side from which a border is worth it."""
SMALLEST = 0.25
"""Share of each side that remains, or nothing is cut."""
NOTE = "a border of one value around the image is left out of what the model sees"


@dataclass(frozen=True, kw_only=True)
class Inner:
    """The part of an image inside its border."""

    rows: Span
    columns: Span
    size: tuple[int, int]
    """(height, width) of the whole image."""

    def of(self, image: MedImage) -> MedImage:
        """That part as an image of its own, without the file's values."""
        pixels = np.ascontiguousarray(image.pixels[slice(*self.rows), slice(*self.columns)])
        return replace(image, pixels=pixels, values=None)

    def holds(self, hints: Hints) -> bool:
        """Whether all that a person points at lies inside."""
        corners = [corner for box in hints.boxes for corner in (box.edges[:2], box.edges[2:])]
        clicks = [] if hints.points is None else (hints.points.xy + 0.5).tolist()
        xy = np.array([*corners, *clicks]).reshape(-1, 2)
        low, high = zip(self.columns, self.rows, strict=True)
        return bool(((xy >= low) & (xy <= high)).all())

    def hints(self, hints: Hints) -> Hints:
        """A person's hints, as they lie in that part."""
        x, y = self.columns[0], self.rows[0]
        return Hints(boxes=_moved(hints.boxes, -x, -y), points=_shifted(hints.points, -x, -y))

    def put_back(self, answer: Segmentation) -> Segmentation:
        """An answer about that part, on the whole image: nothing lies in the border."""
        x, y = self.columns[0], self.rows[0]
        return replace(
            answer,
            mask=self._framed(answer.mask),
            probability=self._framed(answer.probability),
            saliency=None if answer.saliency is None else self._framed(answer.saliency),
            boxes=_moved(answer.boxes, x, y),
            points=_shifted(answer.points, x, y),
            notes=(*answer.notes, NOTE),
        )

    def _framed(self, values: NDArray[Kind]) -> NDArray[Kind]:
        whole = np.zeros(self.size, values.dtype)
        whole[slice(*self.rows), slice(*self.columns)] = values
        return whole


def inner_of(pixels: FloatArray, filled: float = FILLED) -> Inner | None:
    """The part of (height, width, 3) inside its border; None where there is no border.

    Each side may have a border of its own value, in any order of their drawing.

    Args:
        filled: see `FILLED`.
    """
    size = height, width = pixels.shape[0], pixels.shape[1]
    extent = _without(pixels, ((0, height), (0, width)), 0.0)
    rows, columns = _without(pixels, extent, filled)
    kept = rows[1] - rows[0], columns[1] - columns[0]
    if kept == size or kept[0] < SMALLEST * height or kept[1] < SMALLEST * width:
        return None
    return Inner(rows=rows, columns=columns, size=size)


def _without(pixels: FloatArray, extent: tuple[Span, Span], filled: float) -> tuple[Span, Span]:
    """Rows and columns without their borders, where `extent` is all that is not of one value."""
    rows, columns = (0, pixels.shape[0]), (0, pixels.shape[1])
    for _ in range(2):  # a bar above reaches over the bars beside, or they over it
        rows = _kept(pixels[:, slice(*columns)], rows, _seen_from(columns, extent[1]), filled)
        columns = _kept(pixels[slice(*rows)].swapaxes(0, 1), columns, _seen_from(rows, extent[0]), filled)
    return rows, columns


def _seen_from(span: Span, part: Span) -> slice:
    """A part of a line as it is counted from the start of a span."""
    return slice(max(0, part[0] - span[0]), part[1] - span[0])


def _kept(lines: FloatArray, span: Span, along: slice, filled: float) -> Span:
    """The lines of a span without those that are a border."""
    some = lines[slice(*span)]
    before, after = (_border(each, len(lines), along, filled) for each in (some, some[::-1]))
    return (span[0] + before, span[1] - after) if before + after < len(some) else span


def _border(lines: FloatArray, whole: int, along: slice, filled: float) -> int:
    """How many of the first lines (n, length, 3) are a border of an image that has `whole` of them."""
    level = np.median(lines[0], axis=0)
    count = next((n for n, line in enumerate(lines) if np.abs(line - level).max() > NOISE), len(lines))
    if count < LEAST * whole:
        return 0
    beside = np.abs(lines[count : count + LOOK, along] - level).max(axis=2) > NOISE
    return count if beside.size and beside.mean(axis=1).max() >= filled else 0


def _moved(boxes: tuple[Box, ...], x: float, y: float) -> tuple[Box, ...]:
    return tuple(Box(x0=box.x0 + x, y0=box.y0 + y, x1=box.x1 + x, y1=box.y1 + y) for box in boxes)


def _shifted(points: Points | None, x: float, y: float) -> Points | None:
    if points is None:
        return None
    return replace(points, xy=(points.xy + np.array([x, y], points.xy.dtype)))
