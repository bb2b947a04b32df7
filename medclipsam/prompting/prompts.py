"""From the coarse mask to the boxes and points that SAM is asked with.

Source: MedCLIP-SAMv2, section 3.4 and Table 6; conventions of the released code.

    x0      x1      A box begins at the first pixel of the mask and ends one pixel after the last, but never beyond the
    v       v       image: [x, y, x + width, y + height] cut at (W - 1, H - 1).
    # # # # .   < y0
    . # # . .       Boxes around components come largest first. Points come positives first, drawn without
    . . . . .   < y1 replacement by the generator that the caller gives; where the mask has fewer pixels than
                    points are wanted, each pixel is taken once.

An empty mask has no prompts: None or an empty tuple, never an error and never the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medclipsam.config import Prompting
from medclipsam.errors import BadInput
from medclipsam.metrics.parts import labelled
from medclipsam.prompting.coarse import by_area, outer_contours
from medclipsam.types import BoolArray, Box, Points

MOST_BOXES = 32
"""More components than this are noise; each box costs a pass of SAM's decoder."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """What SAM is asked with."""

    boxes: tuple[Box, ...] = ()
    points: Points | None = None
    parts: int = 1
    """How many parts the object has: outer contours of the coarse mask, or a person's own boxes."""

    @property
    def empty(self) -> bool:
        """Nothing to ask: the coarse mask was empty."""
        return not self.boxes and self.points is None


def prompts_from(
    mask: BoolArray,
    settings: Prompting,
    seed: int | np.random.Generator,
    *,
    boxes: tuple[Box, ...] = (),
    points: Points | None = None,
) -> Prompts:
    """The prompts for a coarse mask (height, width), or the person's own boxes and points in their place.

    Where the person gives a box or a point, exactly what was given is used and the mask is not looked at.

    Raises:
        BadInput: the person's own box or point lies outside the image.
    """
    if boxes or points is not None:
        return _own(mask.shape, boxes, points)
    if settings.kind == "boxes":
        return Prompts(boxes=boxes_for_components(mask, settings.margin, MOST_BOXES), parts=outer_contours(mask))
    if settings.kind in ("points", "both"):
        points = points_from(mask, settings.points, settings.negatives, np.random.default_rng(seed))
    around = box_around(mask, settings.margin) if settings.kind in ("box", "both") else None
    return Prompts(boxes=(around,) if around else (), points=points, parts=outer_contours(mask))


def box_around(mask: BoolArray, margin: float = 0.0) -> Box | None:
    """One box around all of the mask (height, width); None where the mask is empty.

    Args:
        mask: the coarse mask.
        margin: share of the mask's extent by which the box grows on every side.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    return _box(slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1), mask.shape, margin)


def boxes_for_components(mask: BoolArray, margin: float = 0.0, at_most: int = 0) -> tuple[Box, ...]:
    """One box for each 8-connected component, the largest first; the `at_most` largest, or all with 0."""
    from scipy.ndimage import find_objects  # noqa: PLC0415  (takes longer to load than a mask, and is rarely needed)

    labels, areas = labelled(mask)
    windows = find_objects(labels)
    largest_first = by_area(areas)[: at_most or None]
    return tuple(_box(windows[index][0], windows[index][1], mask.shape, margin) for index in largest_first)


def points_from(mask: BoolArray, count: int, negatives: int, generator: np.random.Generator) -> Points | None:
    """At most `count` points in the mask and `negatives` outside it; None where the mask is empty or `count` is 0."""
    inside = _drawn(np.flatnonzero(mask), count, generator)
    if inside.size == 0:
        return None
    outside = _drawn(np.flatnonzero(~mask), negatives, generator)
    rows, columns = np.unravel_index(np.concatenate([inside, outside]), mask.shape)
    labels = np.repeat([1, 0], [inside.size, outside.size])
    return Points(xy=np.stack([columns, rows], axis=1).astype(np.float32), labels=labels)


def _drawn(pixels: NDArray[np.int64], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    return generator.choice(pixels, min(count, pixels.size), replace=False)


def _box(rows: slice, columns: slice, size: tuple[int, ...], margin: float) -> Box:
    high, wide = (rows.stop - rows.start) * margin, (columns.stop - columns.start) * margin
    grown = Box(x0=columns.start - wide, y0=rows.start - high, x1=columns.stop + wide, y1=rows.stop + high)
    return grown.clipped((size[0], size[1]))


def _own(size: tuple[int, ...], boxes: tuple[Box, ...], points: Points | None) -> Prompts:
    height, width = size[0], size[1]
    if points is not None:
        inside = (points.xy >= 0).all(axis=1) & (points.xy <= (width - 1, height - 1)).all(axis=1)
        for x, y in points.xy[~inside].tolist():
            raise BadInput(f"point ({x:g}, {y:g}) lies outside the image of {width} x {height} pixels")
    inside_image = tuple(box.clipped((height, width)) for box in boxes)
    return Prompts(boxes=inside_image, points=points, parts=max(1, len(boxes)))
