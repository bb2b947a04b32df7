"""Decodes PNG, JPEG, TIFF and BMP as a viewer shows them: upright, over black, with the meaning of their colours.

    palette, min-is-white, transparency, EXIF orientation, 1 to 16 bits   ->   grey or colour samples, black is 0

Scans and masks both come through here, so that a mask lies on its scan and white in a file is white in both.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from medclipsam.errors import BadInput
from medclipsam.io.limits import silent_natives
from medclipsam.io.pillow_gaps import (
    check_planes,
    deep_colours,
    keep_unmapped,
    mistaken_bitmap,
    raw_mode,
    scale_transparent_level,
)

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
MAX_PAGES = 10_000
ROTATED = "the file asks to be shown turned (EXIF orientation): image and mask are as shown"
TRANSPARENT = "transparent pixels are shown over black"
_EXIF_ORIENTATION = 0x0112
_TURNED = range(2, 9)
_TIFF_BITS = 258
_TIFF_PHOTOMETRIC = 262
_TIFF_SAMPLE_FORMAT = 339
_GREY_MODES = ("L", "1", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_JPEG_IN_TIFF = ("jpeg", "tiff_jpeg")

Samples = NDArray[Any]

# Pillow's complaints of damaged files reach those who listen to its logger, not the terminal.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@dataclass(frozen=True, eq=False, kw_only=True)
class Shown:
    """The samples of one picture or page, and what is known of them."""

    samples: Samples
    """(height, width) grey or (height, width, 3) colour; 0 is black, except where `mirrored`."""
    warnings: tuple[str, ...] = ()
    indexes: Samples | None = None
    """(height, width) numbers that a picture with a palette stores."""
    lossy: bool = False
    """Whether compression changed the samples."""
    hidden: bool = False
    """Whether nothing but black is seen because transparency hides what is stored."""
    mirrored: bool = False
    """Whether floating samples were negated because their least value is white."""


def opened(path: Path) -> ImageFile:
    """Open without decoding.

    Raises:
        BadInput: what Pillow only warns of as a decompression bomb.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadInput(
            f"{path.name}: its header claims more than {Image.MAX_IMAGE_PIXELS:,} pixels", "crop or shrink it"
        ) from error
    keep_unmapped(picture)
    return picture


def page_count(picture: ImageFile, name: str) -> int:
    """Walk to the last page of a TIFF; any other picture has one.

    Raises:
        BadInput: a chain of pages that does not end.
    """
    if picture.format != "TIFF":
        return 1
    pages = 0
    try:
        while True:
            picture.seek(pages)
            pages += 1
            if pages > MAX_PAGES:
                raise BadInput(f"{name}: more than {MAX_PAGES:,} pages", "split it")
    except EOFError:
        return pages


def shown(picture: ImageFile, path: Path) -> Shown:
    """Decode the page that the opened picture of a path stands at, whose size the caller has checked.

    Raises:
        BadInput: a picture that no decoder here reads rightly.
    """
    check_planes(picture, path.name)
    raw = raw_mode(
        picture
    )  # first, for it is forgotten once the samples are decoded, as finding the orientation may do
    scale_transparent_level(picture, raw)
    lossy = picture.format not in ("PNG", "TIFF", "BMP") or picture.info.get("compression") in _JPEG_IN_TIFF
    orientation = int(picture.getexif().get(_EXIF_ORIENTATION, 1))
    warned = (ROTATED,) if orientation in _TURNED else ()
    found = _decoded(picture, path, raw, orientation)
    return replace(found, warnings=(*warned, *found.warnings), lossy=lossy)


def _decoded(picture: ImageFile, path: Path, raw: str, orientation: int) -> Shown:
    deep = deep_colours(picture, path, raw, orientation)
    if deep is not None:
        return _over_black(deep)
    bitmap = mistaken_bitmap(picture, path)
    return Shown(samples=bitmap) if bitmap is not None else _by_pillow(picture)


def _by_pillow(picture: ImageFile) -> Shown:
    white = _white_if_inverted(picture)
    unsigned = getattr(picture, "tag_v2", {}).get(_TIFF_SAMPLE_FORMAT, (1,)) == (1,)
    with silent_natives():
        picture.load()
    turns = picture.getexif().get(_EXIF_ORIENTATION) in _TURNED  # Pillow has turned a TIFF by now
    upright: Image.Image = ImageOps.exif_transpose(picture) if turns else picture
    indexes = np.asarray(upright) if upright.mode == "P" else None
    if upright.has_transparency_data and not upright.mode.startswith("I;16"):
        return replace(_over_black(np.asarray(upright.convert("RGBA"))), indexes=indexes)
    if upright.mode not in _GREY_MODES:
        return Shown(samples=np.asarray(upright.convert("RGB")), indexes=indexes)
    values = np.asarray(upright)
    if values.dtype == np.int32 and unsigned:
        values = values.view(np.uint32)
    return _grey(_narrowed(values), upright.info.get("transparency"), white)


def _grey(values: Samples, transparent: Any, white: int | None) -> Shown:
    """Grey samples, without those of the one transparent level, upside down where a TIFF's 0 is white."""
    if white is not None and values.dtype.kind == "f":
        return Shown(samples=-values, mirrored=True)
    if white is not None:
        values = np.asarray(white - values.astype(np.int64), np.uint16)
    if values.dtype != np.uint16 or not isinstance(transparent, int) or not (values == transparent).any():
        return Shown(samples=values)
    seen = np.where(values == transparent, 0, values)
    return Shown(samples=seen, warnings=(TRANSPARENT,), hidden=bool(values.any() and not seen.any()))


def _white_if_inverted(picture: ImageFile) -> int | None:
    """The level of black where a TIFF's 0 is white and Pillow, which turns up to 8 bits itself, leaves it so."""
    tags = getattr(picture, "tag_v2", {})
    if tags.get(_TIFF_PHOTOMETRIC) != 0 or not picture.mode.startswith(("I", "F")):
        return None
    return int(2 ** min(tags.get(_TIFF_BITS, (16,))[0], 16) - 1)


def _over_black(layers: Samples) -> Shown:
    """(height, width, 3 or 4) samples with their transparency laid over black."""
    colours, alpha = layers[..., :3], layers[..., 3:]
    opaque = np.iinfo(layers.dtype).max
    if not alpha.size or (alpha == opaque).all():
        return Shown(samples=np.ascontiguousarray(colours))
    blended = (colours.astype(np.float64) * alpha / opaque).round().astype(layers.dtype)
    hidden = not blended.any() and bool(colours.any() or (alpha != alpha[0, 0]).any())
    return Shown(samples=blended, warnings=(TRANSPARENT,), hidden=hidden)


def _narrowed(values: Samples) -> Samples:
    """Pillow widens some 16-bit samples to 32 bits, and gives others in foreign byte order: back to native uint16."""
    if (
        values.dtype.kind in "iu"
        and values.dtype.itemsize == 4
        and values.size
        and values.min() >= 0
        and values.max() <= 65535
    ):
        return values.astype(np.uint16)
    return values.astype(values.dtype.newbyteorder("="))
