"""Decides which stored values become black and white: windows, percentiles and full scales.

    white 1 |        ______
            |       /             low = centre - width / 2
            |      /              high = centre + width / 2
    black 0 |_____/
                low high    values

Named windows are the usual CT presets in Hounsfield units (centre, width).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.types import FloatArray

Window = str | int | tuple[float, float] | None
"""A name of `NAMED_HU`, "percentiles", the 0-based number of a window in the file, (centre, width), "file": what the
file says, "auto": read as "file", but a run asks the model about a CT in several windows; or None: read as "file", and
the method says whether the run does as with "auto"."""
Array = NDArray[Any]

NAMED_HU: dict[str, tuple[float, float]] = {
    "lung": (-600.0, 1500.0),
    "soft-tissue": (50.0, 400.0),
    "brain": (40.0, 80.0),
    "bone": (400.0, 1800.0),
}
PERCENTILES = (0.5, 99.5)
"""Percentiles of MedSAM's preprocessing (Ma et al., Nature Communications 2024), for scans without a window."""
SAMPLED_PLANES = 32
"""Slices of a volume whose percentiles are taken together."""
LOWEST_HU = -1024.0
"""CT measures nothing below; what is lower surrounds the field of view: -2000, -2048, -3024, -32768."""
PADDED_SHARE = PERCENTILES[0] / 100
"""A value as common as that would be taken for black."""
AUTO = "auto"
FILE = "file"
"""What the file says, and nothing else."""
FILES_OWN = None, FILE, AUTO
"""These leave the window to the file."""
AIR_HU = -1150.0, -850.0
"""Where the black of a CT lies that shows air."""
MORE_BY_WINDOW = f"a CT may show more by {', '.join(list(NAMED_HU)[:-1])} or {list(NAMED_HU)[-1]}"
CONSTANT = "every pixel has the same value: the image is shown black"
EIGHT_IN_SIXTEEN = "16-bit samples hold 8-bit levels: 255 is shown white"
_OTHER_NAMES = ("percentiles", AUTO, FILE)
_SIXTEEN_BIT_SCALES = (255, 1023, 4095, 16383, 65535)
_HELP = f"give {', '.join(NAMED_HU)}, percentiles, auto, file, CENTRE,WIDTH or the number of a window in the file"


def parse_window(text: str) -> Window:
    """What a person writes for a window: `lung`, `percentiles`, `auto`, `file`, `40,400`, or `2` for the file's second.

    Raises:
        BadInput: none of these.
    """
    if text in NAMED_HU or text in _OTHER_NAMES:
        return text
    if re.fullmatch(r"[1-9][0-9]?", text):
        return int(text) - 1
    parts = text.split(",")
    try:
        centre, width = (float(part) for part in parts)
    except ValueError as error:
        raise BadInput(f"window {text[:40]!r} is not known", _HELP) from error
    check_window((centre, width))
    return centre, width


def check_window(window: Window) -> None:
    """Refuse a window that no scan can have.

    Raises:
        BadInput: an unknown name, a negative number, or a width that is not finite and positive.
    """
    if isinstance(window, str) and window not in NAMED_HU and window not in _OTHER_NAMES:
        raise BadInput(f"window {window[:40]!r} is not known", _HELP)
    if isinstance(window, int) and window < 0:
        raise BadInput(f"window number {window} is negative", _HELP)
    if isinstance(window, tuple) and not (np.isfinite(window).all() and window[1] > 0):
        raise BadInput(f"window {window} needs a finite centre and a positive width", _HELP)


def between(values: Array, low: float, high: float) -> FloatArray:
    """Map low to 0 and high to 1, cut what lies outside; all 0 where low equals high.

    Results are whole multiples of 2**-24, so that 1 - x is exact: a picture and its inverted twin are the same bits.
    """
    if not high > low:
        return np.zeros(values.shape, np.float32)
    scaled = np.clip((values.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    return (np.rint(scaled * 2**24) / 2**24).astype(np.float32)


def percentile_range(values: Array) -> tuple[float, float]:
    """The two percentiles of `PERCENTILES`; the full range where they coincide; (0, 0) of nothing."""
    if values.size == 0:
        return 0.0, 0.0
    exact: Array = values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)  # int16 would overflow
    low, high = (float(value) for value in np.percentile(exact, PERCENTILES))
    return (low, high) if high > low else (float(values.min()), float(values.max()))


def spread(count: int, most: int) -> list[int]:
    """At most `most` whole numbers below `count`, evenly spread."""
    return sorted({int(k) for k in np.linspace(0, count - 1, min(count, most)).round()})


def without_padding(values: Array) -> Array:
    """Values without the padding of a CT, where they are seen to have one; else as they are.

    One value below -1024 HU then makes up most of all that is below: resampling blurs padding, and other signed data,
    such as phases, spread.
    """
    below = values[values < LOWEST_HU]
    if below.size < PADDED_SHARE * values.size:
        return values
    most_common = np.unique(below, return_counts=True)[1].max(initial=0)
    is_padded = most_common >= max(below.size / 2, PADDED_SHARE * values.size)
    return measured(values) if is_padded else values


def measured(values: Array) -> Array:
    """Values of a CT that its scanner can have measured; all of them where none is."""
    inside = values >= LOWEST_HU
    return values[inside] if inside.any() else values


def edges(window: tuple[float, float]) -> tuple[float, float]:
    """(low, high) of a (centre, width)."""
    centre, width = window
    return centre - width / 2, centre + width / 2


def full_scale(values: Array) -> float:
    """White of unsigned samples: 255 for 8 bits; for 16 bits the depth that the values use (8, 10, 12, 14 or 16).

    8-bit images spread over 16 bits (only multiples of 257, or of 256) keep their own white, however dark they are.
    """
    if values.dtype == np.uint8:
        return 255.0
    brightest = int(values.max(initial=0))
    if not (values % np.uint16(257)).any():
        return 65535.0
    if not (values % np.uint16(256)).any():
        return 65280.0
    return float(next(scale for scale in _SIXTEEN_BIT_SCALES if brightest <= scale))


def depth_note(values: Array, window: Window) -> tuple[str, ...]:
    """What a person should know of the white that `display` takes for 16-bit samples that use 8 bits at most."""
    shallow = window in FILES_OWN and values.dtype == np.uint16 and 0 < int(values.max(initial=0)) <= 255
    return (EIGHT_IN_SIXTEEN,) if shallow else ()


def display(values: Array, window: Window, name: str, whole: Array | None = None) -> FloatArray:
    """Values of a file that says nothing of units, as they are shown: (height, width[, 3]) in [0, 1].

    Booleans and floats within [0, 1] stay, 8- and 16-bit unsigned integers are divided by their full scale, and
    everything else goes by percentiles. A (centre, width) or "percentiles" replaces that; a named window is meant for
    signed or floating values in Hounsfield units.

    Args:
        values: one image.
        window: see `Window`.
        name: the file to speak of.
        whole: values of all images that are to be shown alike, such as the pages of a file; None: of this one alone.

    Raises:
        BadInput: a window for colours, a named one for grey levels, or the number of one.
    """
    check_window(window)
    whole = values if whole is None else whole
    if window in FILES_OWN:
        return _natural(values, whole)
    if values.ndim == 3:
        raise BadInput(f"{name}: a colour image has no window", "leave the window out")
    if window == "percentiles":
        return between(values, *percentile_range(whole))
    if isinstance(window, int):
        raise BadInput(f"{name}: no windows are stored in this format", "give CENTRE,WIDTH")
    if isinstance(window, str):
        if values.dtype.kind in "bu":
            raise BadInput(f"{name}: window {window} is in Hounsfield units, this image in grey levels", _HELP)
        window = NAMED_HU[window]
    return between(values, *edges(window))


def _natural(values: Array, whole: Array) -> FloatArray:
    if values.dtype.kind == "b":
        return values.astype(np.float32)
    if values.dtype in (np.uint8, np.uint16):
        fits = values.max(initial=0) <= whole.max(initial=0)
        return between(values, 0.0, full_scale(whole if fits else values))
    if values.dtype.kind == "f" and all(part.min() >= 0 and part.max() <= 1 for part in (values, whole) if part.size):
        return values.astype(np.float32)
    return between(values, *percentile_range(whole))


def as_rgb(pixels: FloatArray) -> tuple[FloatArray, tuple[str, ...]]:
    """Grey or colour in [0, 1] -> (height, width, 3); one value everywhere becomes black, with a warning."""
    three = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    three = np.ascontiguousarray(three, np.float32)
    if three.size and (three == three[0, 0]).all():
        return np.zeros_like(three), (CONSTANT,)
    return three, ()
