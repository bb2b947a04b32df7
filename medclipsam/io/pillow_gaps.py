"""Mends what Pillow 13 decodes wrongly in silence, with OpenCV where that is right, else by a refusal.

16-bit colours              Pillow keeps the upper 8 bits; stored plane by plane both scramble them
BMP with a grey palette     Pillow takes the palette for the depth: an 8-bit mask is read as 1-bit
2- and 4-bit grey PNG       Pillow compares the transparent level with samples that it has scaled already
plain TIFF, turned          Pillow maps it into memory with rows as long as they are once turned
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin
from PIL.ImageFile import ImageFile

from medclipsam.errors import BadInput
from medclipsam.io.limits import silent_natives

Samples = NDArray[Any]

# Grey of 16 bits whose 0 is white: Pillow knows it in the byte order of Intel alone.
TiffImagePlugin.OPEN_INFO.setdefault((b"MM", 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))
_TIFF_BITS = 258
_TIFF_PLANES = 284
_PNG_SCALES = {"L;2": 85, "L;4": 17}


def keep_unmapped(picture: ImageFile) -> None:
    """Let no file be mapped into memory: without a name there is none to map."""
    picture.filename = ""


def check_planes(picture: ImageFile, name: str) -> None:
    """Refuse 16-bit colours that are stored plane by plane.

    Raises:
        BadInput: they are.
    """
    tags = getattr(picture, "tag_v2", {})
    bits = tags.get(_TIFF_BITS, (8,))
    if tags.get(_TIFF_PLANES) == 2 and len(bits) > 1 and max(bits) > 8:
        raise BadInput(f"{name}: its 16-bit colours are stored plane by plane", "save them pixel by pixel")


def scale_transparent_level(picture: ImageFile, raw: str) -> None:
    """Give the transparent level of a PNG the scale that Pillow gives its samples."""
    level = picture.info.get("transparency")
    scale = _PNG_SCALES.get(raw, 1)
    if picture.format == "PNG" and isinstance(level, int):
        picture.info["transparency"] = level * scale


def deep_colours(picture: ImageFile, path: Path, raw: str, orientation: int) -> Samples | None:
    """(height, width, 3 or 4) of 16 bits, upright; None for all other pictures.

    Args:
        picture: opened.
        path: its file.
        raw: what `raw_mode` said.
        orientation: as EXIF says it, for PNG; OpenCV turns a TIFF itself.
    """
    if picture.mode not in ("RGB", "RGBA", "RGBX", "LA") or ";16" not in raw:
        return None
    import cv2  # noqa: PLC0415

    content = np.frombuffer(path.read_bytes(), np.uint8)
    page = picture.tell()
    with silent_natives():
        done, pages = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
    if not done or len(pages) != 1 or pages[0].dtype != np.uint16 or pages[0].ndim != 3:
        return None
    samples = np.asarray(pages[0][..., [2, 1, 0, 3][: pages[0].shape[2]]])
    return samples if picture.format == "TIFF" else _turned(samples, orientation)


def mistaken_bitmap(picture: ImageFile, path: Path) -> Samples | None:
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


def raw_mode(picture: ImageFile) -> str:
    """How Pillow says that samples are stored, before it decodes them."""
    arguments: Any = picture.tile[0].args if picture.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)
