"""Shows images of a scan to a page: as they are read, 8 bits, losslessly packed, and the window of that view."""

from __future__ import annotations

from io import BytesIO

import numpy as np
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


def window_of(image: MedImage) -> tuple[float, float] | None:
    """(centre, width) of the values that are shown from black to white; a negative width where low values are white.

    Found from the pixels between black and white, so that it holds however the file says its window; None of colours,
    and where no pixel lies between.
    """
    if image.values is None:
        return None
    grey, stored = image.pixels[..., 0].astype(np.float64), np.asarray(image.values, np.float64)
    between = (grey > 0) & (grey < 1)
    if not between.any() or np.ptp(grey[between]) == 0:
        return None
    step, black = np.polyfit(grey[between], stored[between], 1)
    return float(black + step / 2), float(step)
