"""Reads PNG, JPEG, TIFF and BMP as scans: as a viewer shows them, in their own range.

    EXIF orientation 6 (turn right)     stored 40 x 30   ->   shown, read and masked 30 x 40

The mask lies on the image as displayed, because that is the image a person compares it with; a warning says so. The
pages of a TIFF share what is black and white, as the slices of a volume do: as many of them are looked at.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medclipsam.errors import BadInput
from medclipsam.io.limits import check_finite, check_pixels, reader_edge
from medclipsam.io.pictures import Samples, Shown, opened, page_count, shown
from medclipsam.io.source import ReadOptions, picture_name
from medclipsam.io.window import SAMPLED_PLANES, as_rgb, depth_note, display, spread
from medclipsam.types import MedImage

SAMPLED_SIDE = 256
"""Rows and columns of a page that are looked at, beside its least and greatest value."""


class RasterSource:
    """A PNG, JPEG, BMP, or a TIFF of one or more pages.

    Raises:
        BadInput: more pages than `MAX_PAGES`.
    """

    kind = "a PNG, JPEG, TIFF or BMP image"
    places_mm = None
    corners_lps = None

    def __init__(self, path: Path, name: str, options: ReadOptions) -> None:
        self.name = name
        self._path = path
        self._options = options
        with opened(path) as picture:
            self.unit = "page" if picture.format == "TIFF" else "image"
            self.count = page_count(picture, name)

    def image(self, index: int) -> MedImage:
        """One page, its size checked before it is decoded."""
        found = self._page(index)
        check_finite(self.name, found.samples)
        whole = self._sampled.get(found.samples.dtype)
        pixels, constant = as_rgb(display(found.samples, self._options.window, self.name, whole))
        note = depth_note(found.samples if whole is None else whole, self._options.window)
        return MedImage(
            pixels=pixels,
            name=picture_name(self, index),
            format="raster",
            warnings=(*found.warnings, *note, *constant),
            values=_grey(found),
        )

    def origin(self, index: int) -> None:
        """Nothing: a mask needs no more than the picture's size."""

    def _page(self, index: int) -> Shown:
        with opened(self._path) as picture:
            picture.seek(index)
            check_pixels(self.name, picture.height, picture.width, self._options.max_pixels)
            return shown(picture, self._path)

    @cached_property
    def _sampled(self) -> dict[np.dtype[Any], Samples]:
        """Values of several pages by their type; none of a single page, and of pages that cannot be decoded."""
        found: dict[np.dtype[Any], list[Samples]] = {}
        for index in spread(self.count, SAMPLED_PLANES) if self.count > 1 else []:
            with suppress(BadInput), reader_edge(self.name, self.kind):
                samples = self._page(index).samples
                if samples.dtype.itemsize == 1 and self._options.window is None:
                    return {}  # 8 bits have one white
                found.setdefault(samples.dtype, []).append(_thinned(samples))
        return {dtype: np.concatenate(values) for dtype, values in found.items()}


def _thinned(samples: Samples) -> Samples:
    """Finite values of some rows and columns, and the least and the greatest of all."""
    rows, columns = (max(1, side // SAMPLED_SIDE) for side in samples.shape[:2])
    every, some = (part[np.isfinite(part)] for part in (samples, samples[::rows, ::columns]))
    return np.concatenate([some, [every.min(), every.max()]]).astype(samples.dtype) if every.size else some


def _grey(found: Shown) -> Samples | None:
    """Grey levels; of a palette and of colours there are none."""
    if found.samples.ndim != 2 or found.indexes is not None:
        return None
    return -found.samples if found.mirrored else found.samples
