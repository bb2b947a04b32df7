"""Makes pictures of a scan for a page: one image as the model sees it, 8 bits, losslessly packed."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from medclipsam.drawing.painter import to_bytes
from medclipsam.types import MedImage

QUICK = 1
"""Level of zlib: a third of the default's time."""


def slice_png(image: MedImage) -> bytes:
    """One image as PNG: grey where its three channels are equal."""
    pixels = to_bytes(image.pixels)
    is_grey = bool((pixels[..., :1] == pixels[..., 1:]).all())
    stream = BytesIO()
    Image.fromarray(pixels[..., 0] if is_grey else pixels).save(stream, "PNG", compress_level=QUICK)
    return stream.getvalue()
