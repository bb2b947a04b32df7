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
from PIL import Image, ImageOps, TiffImagePlugin
from PIL.ImageFile import ImageFile

from medclipsam.errors import BadInput
from medclipsam.io.limits import silent_natives

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
MAX_PAGES = 10_000
ROTATED = "the file asks to be shown turned (EXIF orientation): image and mask are as shown"
TRANSPARENT = "transparent pixels are shown over black"
_EXIF_ORIENTATION = 0x0112
_TIFF_BITS = 258
_TIFF_PHOTOMETRIC = 262
_TIFF_PLANES = 284
_TIFF_SAMPLE_FORMAT = 339
_GREY_MODES = ("L", "1", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_JPEG_IN_TIFF = ("jpeg", "tiff_jpeg")

Samples = NDArray[Any]

# Grey of 16 bits whose 0 is white: Pillow knows it in the byte order of Intel alone.
TiffImagePlugin.OPEN_INFO.setdefault((b"MM", 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))
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
    # Without its name no file is mapped into memory: Pillow 13 maps a plain TIFF of orientation 5 to 8 with rows as
    # long as they are once turned, which scrambles it.
    picture.filename = ""
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
        BadInput: 16-bit colours stored plane by plane, which Pillow 13 and OpenCV 5 scramble in silence.
    """
    tags = getattr(picture, "tag_v2", {})
    if tags.get(_TIFF_PLANES) == 2 and picture.mode not in _GREY_MODES and max(tags.get(_TIFF_BITS, (8,))) > 8:
        raise BadInput(f"{path.name}: its 16-bit colours are stored plane by plane", "save them pixel by pixel")
    deep = _deep_colour(picture, path)  # first, for Pillow forgets how samples are stored once they are decoded
    lossy = picture.format not in ("PNG", "TIFF", "BMP") or picture.info.get("compression") in _JPEG_IN_TIFF
    orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
    warned = () if orientation in (0, 1) else (ROTATED,)
    bitmap = _mistaken_bitmap(picture, path)
    if deep is not None and picture.format != "TIFF":  # OpenCV turns a TIFF itself
        deep = _turned(deep, orientation)
    if bitmap is not None:
        return Shown(samples=bitmap)
    found = _over_black(deep) if deep is not None else _by_pillow(picture)
    return replace(found, warnings=(*warned, *found.warnings), lossy=lossy)


def _by_pillow(picture: ImageFile) -> Shown:
    white = _white_if_inverted(picture)
    unsigned = getattr(picture, "tag_v2", {}).get(_TIFF_SAMPLE_FORMAT, (1,)) == (1,)
    with silent_natives():
        picture.load()
    turns = picture.getexif().get(_EXIF_ORIENTATION, 1) not in (0, 1)
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
    seen = values == transparent if values.dtype == np.uint16 and isinstance(transparent, int) else np.zeros(1, bool)
    return Shown(samples=np.where(seen, 0, values), warnings=(TRANSPARENT,)) if seen.any() else Shown(samples=values)


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


def _deep_colour(picture: ImageFile, path: Path) -> Samples | None:
    """(height, width, 3 or 4) of 16 bits, of which Pillow keeps the upper 8 alone; None for all other pictures."""
    arguments = picture.tile[0].args if picture.tile else None
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    if picture.mode not in ("RGB", "RGBA", "RGBX", "LA") or ";16" not in str(raw):
        return None
    import cv2  # noqa: PLC0415

    content = np.frombuffer(path.read_bytes(), np.uint8)
    page = picture.tell()
    with silent_natives():
        done, pages = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
    if not done or len(pages) != 1 or pages[0].dtype != np.uint16 or pages[0].ndim != 3:
        return None
    return np.asarray(pages[0][..., [2, 1, 0, 3][: pages[0].shape[2]]])


def _mistaken_bitmap(picture: ImageFile, path: Path) -> Samples | None:
    """The samples of a BMP that Pillow 13 takes for another depth; None for all other pictures.

    It takes a palette of black and white for 1 bit, and one of the first grey levels for 8, whatever the file says.
    """
    if picture.format != "BMP" or picture.mode not in ("1", "L"):
        return None
    with path.open("rb") as stream:
        header = stream.read(30)
    at = 24 if header[14] == 12 else 28  # of OS/2's header of 12 bytes and of all later ones
    bits = int.from_bytes(header[at : at + 2], "little")
    if bits == {"1": 1, "L": 8}[picture.mode]:
        return None
    import cv2  # noqa: PLC0415

    content = np.frombuffer(path.read_bytes(), np.uint8)
    with silent_natives():
        samples = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    if samples is None:
        raise BadInput(f"{path.name}: a BMP of {bits} bits that cannot be decoded", "save it as PNG")
    return np.asarray(samples if samples.ndim == 2 else samples[..., 2::-1])


def _turned(samples: Samples, orientation: int) -> Samples:
    """As EXIF 2.32, tag 0x0112, asks."""
    across = samples.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else samples
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return across[rows, columns]


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
