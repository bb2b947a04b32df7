"""How are PNG, JPEG, TIFF and BMP read? By Pillow, as a viewer shows them: upright, over black, in their own range.

    EXIF orientation 6 (turn right)     stored 40 x 30   ->   shown, read and masked 30 x 40

The mask lies on the image as displayed, because that is the image a person compares it with; a warning says so.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from medclipsam.errors import BadInput
from medclipsam.io.limits import check_finite, check_pixels
from medclipsam.io.source import ReadOptions, picture_name
from medclipsam.io.window import as_rgb, display
from medclipsam.types import MedImage

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
MAX_PAGES = 10_000
ROTATED = "the file asks to be shown turned (EXIF orientation): image and mask are as shown"
TRANSPARENT = "transparent pixels are shown over black"
_EXIF_ORIENTATION = 0x0112
_TIFF_PHOTOMETRIC = 262
_GREY_MODES = ("L", "1", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


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
        with _opened(path) as picture:
            self.unit = "page" if picture.format == "TIFF" else "image"
            self.count = _page_count(picture, name) if picture.format == "TIFF" else 1

    def image(self, index: int) -> MedImage:
        """One page, its size checked before it is decoded."""
        with _opened(self._path) as picture:
            picture.seek(index)
            check_pixels(self.name, picture.height, picture.width, self._options.max_pixels)
            values, warned = _values(picture)
        check_finite(self.name, values)
        pixels, constant = as_rgb(display(values, self._options.window, self.name))
        return MedImage(pixels=pixels, name=picture_name(self, index), format="raster", warnings=(*warned, *constant))

    def origin(self, index: int) -> None:
        """Nothing: a mask needs no more than the picture's size."""


def _opened(path: Path) -> Image.Image:
    """Open without decoding; what Pillow only warns of as a decompression bomb is an error here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path, formats=FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadInput(
            f"{path.name}: its header claims more than {Image.MAX_IMAGE_PIXELS:,} pixels", "crop or shrink it"
        ) from error


def _page_count(picture: Image.Image, name: str) -> int:
    """Walk to the last page; a chain that does not end is refused."""
    pages = 0
    try:
        while True:
            picture.seek(pages)
            pages += 1
            if pages > MAX_PAGES:
                raise BadInput(f"{name}: more than {MAX_PAGES:,} pages", "split it")
    except EOFError:
        return pages


def _values(picture: Image.Image) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Samples as displayed: (height, width) grey or (height, width, 3) colour."""
    warned: tuple[str, ...] = ()
    inverted = picture.mode.startswith("I;16") and _white_is_zero(picture)
    if picture.getexif().get(_EXIF_ORIENTATION, 1) not in (0, 1):
        picture, warned = ImageOps.exif_transpose(picture), (ROTATED,)
    if picture.has_transparency_data:
        opaque, seen = _over_black(picture)
        return opaque, (*warned, TRANSPARENT) if seen else warned
    if picture.mode not in _GREY_MODES:
        return np.asarray(picture.convert("RGB")), warned
    values = _narrowed(np.asarray(picture))
    return (np.uint16(65535) - values if inverted else values), warned


def _white_is_zero(picture: Image.Image) -> bool:
    """Whether a TIFF's 0 is white: Pillow turns 8-bit samples itself, but not 16-bit ones."""
    return getattr(picture, "tag_v2", {}).get(_TIFF_PHOTOMETRIC) == 0


def _over_black(picture: Image.Image) -> tuple[NDArray[Any], bool]:
    layers = picture.convert("RGBA")
    black = Image.new("RGBA", layers.size, (0, 0, 0, 255))
    seen = layers.getchannel("A").getextrema()[0] != 255
    return np.asarray(Image.alpha_composite(black, layers).convert("RGB")), seen


def _narrowed(values: NDArray[Any]) -> NDArray[Any]:
    """Pillow widens some 16-bit samples to 32 bits, and gives others in foreign byte order: back to native uint16."""
    if values.dtype.kind == "i" and values.size and values.min() >= 0 and values.max() <= 65535:
        return values.astype(np.uint16)
    return values.astype(values.dtype.newbyteorder("="))
