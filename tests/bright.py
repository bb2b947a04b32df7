"""A real, tiny method for tests of what surrounds methods: it finds whatever is brighter than half, whatever the text.

It keeps the contract of `medclipsam.methods.contract.Segmenter`; the prompt "unicorn" is found nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import find_objects

from medclipsam.methods.contract import MethodInfo, check_hints
from medclipsam.types import NO_HINTS, Box, Hints, MedImage, Segmentation


class BrightSegmenter:
    """Segment bright pixels, inside the person's box where there is one."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bool]] = []
        self.prepared: list[list[str]] = []

    def segment(self, image: MedImage, text: str, hints: Hints | None = None, *, always: bool = False) -> Segmentation:
        """See the contract."""
        check_hints(hints, self.info)
        hints = hints or NO_HINTS
        self.asked.append((image.name, text, always))
        grey = image.pixels.mean(axis=2)
        mask = (grey > 0.5) & _inside(image.size, hints.boxes)
        if text == "unicorn" and not always:
            mask = np.zeros_like(mask)
        return Segmentation(
            prompt=text,
            mask=mask,
            probability=np.where(mask, 0.75, 0.25).astype(np.float32),
            saliency=grey,
            found=bool(mask.any()),
            presence=float(grey.max()) if text != "unicorn" else 0.0,
            reason=None if mask.any() else "below_threshold" if text == "unicorn" else "no_region",
            boxes=hints.boxes or _around(mask),
            points=hints.points,
            scores=(0.875,) if mask.any() else (),
            seconds={"mask": 0.0},
        )

    def prepare(self, images: Sequence[MedImage]) -> None:
        """See the contract."""
        self.prepared.append([image.name for image in images])

    def images_at_once(self, most: int) -> int:
        """See the contract."""
        return 1

    @property
    def info(self) -> MethodInfo:
        """See the contract."""
        return MethodInfo(
            method="bright", preset={"name": "bright"}, weights={"bright": "0" * 64}, device="cpu", takes_hints=True
        )


def bright_square(height: int, width: int, top: int, left: int, side: int) -> np.ndarray:
    """(height, width) uint8: 200 in a square, a dim ramp elsewhere."""
    pixels = np.tile(np.linspace(0, 60, width), (height, 1)).astype(np.uint8)
    pixels[top : top + side, left : left + side] = 200
    return pixels


def _inside(size: tuple[int, int], boxes: Sequence[Box]) -> np.ndarray:
    inside = np.zeros(size, bool)
    for box in boxes:
        inside[round(box.y0) : round(box.y1) + 1, round(box.x0) : round(box.x1) + 1] = True
    return inside if boxes else ~inside


def _around(mask: np.ndarray) -> tuple[Box, ...]:
    if not mask.any():
        return ()
    rows, columns = find_objects(mask.astype(int))[0]
    return (Box(x0=columns.start, y0=rows.start, x1=columns.stop - 1, y1=rows.stop - 1),)
