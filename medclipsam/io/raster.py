"""Reads PNG, JPEG, TIFF and BMP as scans: as a viewer shows them, in their own range.

    EXIF orientation 6 (turn right)     stored 40 x 30   ->   shown, read and masked 30 x 40

The mask lies on the image as displayed, because that is the image a person compares it with; a warning says so.
"""

from __future__ import annotations

from pathlib import Path

from medclipsam.io.limits import check_finite, check_pixels
from medclipsam.io.pictures import Samples, Shown, opened, page_count, shown
from medclipsam.io.source import ReadOptions, picture_name
from medclipsam.io.window import as_rgb, depth_note, display
from medclipsam.types import MedImage


class RasterSource:
    """A PNG, JPEG, BMP, or a TIFF of one or more pages.

    Raises:
        BadInput: more pages than `MAX_PAGES`.
    """

    kind = "a PNG, JPEG, TIFF or BMP image"
    places_mm = None

    def __init__(self, path: Path, name: str, options: ReadOptions) -> None:
        self.name = name
        self._path = path
        self._options = options
        with opened(path) as picture:
            self.unit = "page" if picture.format == "TIFF" else "image"
            self.count = page_count(picture, name)

    def image(self, index: int) -> MedImage:
        """One page, its size checked before it is decoded."""
        with opened(self._path) as picture:
            picture.seek(index)
            check_pixels(self.name, picture.height, picture.width, self._options.max_pixels)
            found = shown(picture, self._path)
        check_finite(self.name, found.samples)
        pixels, constant = as_rgb(display(found.samples, self._options.window, self.name))
        warned = (*found.warnings, *depth_note(found.samples, self._options.window), *constant)
        return MedImage(
            pixels=pixels, name=picture_name(self, index), format="raster", warnings=warned, values=_grey(found)
        )

    def origin(self, index: int) -> None:
        """Nothing: a mask needs no more than the picture's size."""


def _grey(found: Shown) -> Samples | None:
    """Grey levels; of a palette and of colours there are none."""
    return found.samples if found.samples.ndim == 2 and found.indexes is None else None
