"""Looks at an image in several ways and takes the mean of what they say, so that what should not matter matters less.

    image --as it is, smaller, darker, ...--> views --source--> logits of each --laid back--> mean

Each view costs an encoding of its own. None is mirrored: a spleen on the other side is no spleen. Which come first was
chosen on validation images, and test images gain little (`benchmarks/views.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medclipsam.backbones.letterbox import Letterbox
from medclipsam.errors import BadInput
from medclipsam.prompting.evidence import Cells, CellSource, Evidence
from medclipsam.types import FloatArray, MedImage

LONGEST = 512
"""Pixels of a view's longest side before its margin: twice what the encoder sees."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One way to show an image."""

    gamma: float = 1.0
    """Exponent of the pixels: above 1 is darker."""
    margin: float = 0.0
    """Share of each side that is added in black on both ends, so that all is seen smaller."""
    turn: float = 0.0
    """Degrees, against the clock."""

    def of(self, image: MedImage) -> MedImage:
        """The image as this view shows it, without the file's values."""
        pixels = _shrunk(image.pixels) ** self.gamma
        rows, columns = self._widened(pixels.shape[:2])
        shown = cv2.warpAffine(pixels.astype(np.float32), self._placed(pixels.shape[:2]), (columns, rows))
        return replace(image, pixels=np.clip(shown, 0, 1), values=None)

    def laid_back(self, logits: FloatArray, size: tuple[int, int], side: int) -> FloatArray:
        """Logits over the square of the view, over the square of the image, cell by cell.

        Args:
            logits: (cells, cells).
            size: (height, width) of the image.
            side: of both squares in pixels.
        """
        small, cell = _small(size), side / len(logits)
        widened = self._widened(small)
        own = zip(np.indices(logits.shape)[::-1], _pixels(small, side), strict=True)
        x, y = ((place + 0.5) * cell * scale - 0.5 for place, scale in own)
        placed = np.tensordot(self._placed(small), np.stack([x, y, np.ones_like(x)]), axes=1)
        x, y = (
            ((place + 0.5) / scale / cell - 0.5).astype(np.float32)
            for place, scale in zip(placed, _pixels(widened, side), strict=True)
        )
        return np.asarray(cv2.remap(logits, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)

    def _widened(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) with the margin."""
        height, width = (side + 2 * round(self.margin * side) for side in size)
        return height, width

    def _placed(self, size: tuple[int, int]) -> NDArray[np.float64]:
        """(2, 3): from the middle of a pixel of the image to its place in the view, both as (x, y)."""
        widened = self._widened(size)
        middle = (widened[1] - 1) / 2, (widened[0] - 1) / 2
        matrix = cv2.getRotationMatrix2D(middle, self.turn, 1.0)
        moved = np.array([widened[1] - size[1], widened[0] - size[0]]) / 2
        return np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ moved])


OTHERS = (View(margin=0.25), View(gamma=1.5), View(gamma=1 / 1.5), View(turn=12), View(turn=-12))
"""Beside the image as it is, in the order in which they are taken."""
MOST = 1 + len(OTHERS)


class SeveralViews:
    """A source that hears several views of each image.

    Args:
        source: asked about each view.
        prepare: encodes images together.
        views: beside the image as it is.
        side: of the square that images enter, in pixels.
    """

    def __init__(
        self,
        source: CellSource,
        prepare: Callable[[Sequence[MedImage]], Any],
        views: Sequence[View],
        side: int,
    ) -> None:
        self._source, self._prepare, self._views, self._side = source, prepare, views, side

    def look(self, image: MedImage) -> tuple[tuple[int, int], list[Any]]:
        """Size of the image, and what the source sees of it and of each view."""
        shown = [image, *(view.of(image) for view in self._views)]
        self._prepare(shown)
        return image.size, [self._source.look(each) for each in shown]

    def weigh(self, image: MedImage, view: tuple[tuple[int, int], list[Any]], text: str, seed: int) -> Evidence:
        """See `EvidenceSource`."""
        return self.drawn(image, self.cells(view, text))

    def cells(self, view: tuple[tuple[int, int], list[Any]], text: str) -> Cells:
        """The mean of logits and presences; what is said of the text is the same in all views."""
        size, looked = view
        own, *others = [self._source.cells(each, text) for each in looked]
        back = [seen.laid_back(each.logits, size, self._side) for seen, each in zip(self._views, others, strict=True)]
        logits: FloatArray = np.mean([own.logits, *back], axis=0, dtype=np.float32)
        presence = float(np.mean([each.presence for each in (own, *others)]))
        return replace(own, logits=logits, presence=presence)

    def drawn(self, image: MedImage, cells: Cells) -> Evidence:
        """See `CellSource`."""
        return self._source.drawn(image, cells)


def in_views(source: CellSource, count: int, prepare: Callable[[Sequence[MedImage]], Any], side: int) -> CellSource:
    """A source that hears so many views of each image; itself where that is one.

    Raises:
        BadInput: no view, or more than there are.
    """
    if not 1 <= count <= MOST:
        raise BadInput(f"{count} views", f"choose 1 to {MOST}")
    return source if count == 1 else SeveralViews(source, prepare, OTHERS[: count - 1], side)


def _pixels(size: tuple[int, int], side: int) -> tuple[float, float]:
    """How many pixels of an image of this size lie on one of its square, across and down."""
    height, width = Letterbox(size=size, side=side).content
    return size[1] / width, size[0] / height


def _small(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of at most `LONGEST` pixels."""
    share = min(1.0, LONGEST / max(size))
    return max(1, round(size[0] * share)), max(1, round(size[1] * share))


def _shrunk(pixels: FloatArray) -> FloatArray:
    """(height, width, 3) of at most `LONGEST` pixels a side; areas are averaged."""
    height, width = _small(pixels.shape[:2])
    if (height, width) == pixels.shape[:2]:
        return pixels
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.float32)
