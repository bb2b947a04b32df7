"""Shows stored DICOM samples by the standard's chain, in its order (PS3.4 N.2; PS3.3 C.11).

    stored --rescale or Modality LUT--> values --window or VOI LUT--> [0, 1] --MONOCHROME1: 1 - x--> picture

The window is the caller's, else the file's VOI LUT, else its first window, else the full range of samples of up to
8 bits, else percentiles without the padding: what the file calls so, and in a CT all below -1024 HU. A window of the
file that shows nothing gives way to percentiles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from medclipsam.errors import BadInput
from medclipsam.io.dicom.values import numbers, text
from medclipsam.io.limits import check_finite
from medclipsam.io.window import (
    MORE_BY_WINDOW,
    NAMED_HU,
    Window,
    between,
    edges,
    full_scale,
    measured,
    percentile_range,
)
from medclipsam.types import FloatArray

WINDOW_UNUSABLE = "the window in the file shows nothing: percentiles are used"
NO_WINDOW = "the file has no window: percentiles are used"
NO_WINDOW_CT = f"{NO_WINDOW}; {MORE_BY_WINDOW}"
FIRST_WINDOW = "the file has several windows: the first is used"
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PALETTE = "PALETTE COLOR"
_SUV = {"BW": "SUVbw", "LBM": "SUVlbm", "LBMJAMES128": "SUVlbm", "LBMJANMA": "SUVlbm", "BSA": "SUVbsa", "IBW": "SUVibw"}
_NARROWEST = 1e-3
"""Stands for the step at the centre that a LINEAR window of width 1 is."""

Array = NDArray[Any]
Shown = tuple[FloatArray, tuple[str, ...]]
Stretch = Callable[[], tuple[float, float]]
"""Gives the values of a whole series or film that become black and white, where no window says them."""


def shown(stored: Array, attributes: Dataset, window: Window, name: str, stretch: Stretch | None = None) -> Shown:
    """One frame as a display would show it.

    Args:
        stored: (height, width) samples, or (height, width, 3) already turned to RGB.
        attributes: of this frame, see `medclipsam.io.dicom.values.frame_attributes`.
        window: the caller's, see `medclipsam.io.window`; None: the file's.
        name: the case id to speak of.
        stretch: asked in place of the frame's own percentiles.

    Returns:
        (height, width) or (height, width, 3) in [0, 1], and what a person should know.

    Raises:
        BadInput: a window that does not fit, a colour space that is not read, or a broken rescale.
    """
    photometric = text(attributes, "PhotometricInterpretation")
    if photometric not in GREY and window is not None:
        raise BadInput(f"{name}: a colour image has no window", "leave the window out")
    if photometric == PALETTE:
        return _coloured(stored, attributes, name), ()
    if photometric in COLOUR:
        return between(stored, 0.0, float(2 ** int(attributes.BitsStored) - 1)), ()
    if photometric not in GREY:
        raise BadInput(f"{name}: its colour space is not read", "convert it to RGB or MONOCHROME2")
    pixels, warned = _grey(stored, attributes, window, name, stretch)
    inverted = photometric == "MONOCHROME1" or text(attributes, "PresentationLUTShape") == "INVERSE"
    return (np.float32(1.0) - pixels if inverted else pixels), warned


def grey_values(stored: Array, attributes: Dataset, name: str) -> Array | None:
    """The values of a frame after its rescale or Modality LUT; None of colours.

    Raises:
        BadInput: a broken rescale.
    """
    if text(attributes, "PhotometricInterpretation") not in GREY:
        return None
    return _modality_values(stored, attributes, name)


def value_unit(attributes: Dataset, header: Dataset) -> str | None:
    """`HU` of a CT in Hounsfield units, `SUVbw` and the like of a PET whose values are SUV; None of all others."""
    if _in_hounsfield(attributes):
        return "HU"
    if text(header, "Modality") != "PT" or text(header, "Units") != "GML":
        return None
    # PS3.3 C.8.9.1.1.3: values in g/ml are SUV, by body weight where no type is given
    return _SUV.get(text(header, "SUVType") or "BW")


def stretched_values(stored: Array, attributes: Dataset, name: str) -> Array:
    """The values of a grey frame that its contrast is stretched over, 1-D: without its padding, and of a CT without
    what a scanner cannot have measured."""
    values = _modality_values(stored, attributes, name)
    padding = (*numbers(attributes, "PixelPaddingValue"), *numbers(attributes, "PixelPaddingRangeLimit"))
    inside = values[(stored < min(padding)) | (stored > max(padding))] if padding else values.ravel()
    return measured(inside) if _in_hounsfield(attributes) else inside


def _grey(stored: Array, attributes: Dataset, window: Window, name: str, stretch: Stretch | None) -> Shown:
    values = _modality_values(stored, attributes, name)
    check_finite(name, values)
    if isinstance(window, tuple):
        return between(values, *edges(window)), ()
    if window in NAMED_HU:
        _check_hounsfield(attributes, window, name)
        return between(values, *edges(NAMED_HU[window])), ()
    own_stretch = stretch or (lambda: percentile_range(stretched_values(stored, attributes, name)))
    if window == "percentiles":
        return between(values, *own_stretch()), ()
    number = window if isinstance(window, int) else None
    return _by_file(stored, values, attributes, number=number, name=name, stretch=own_stretch)


def _by_file(
    stored: Array, values: Array, attributes: Dataset, *, number: int | None, name: str, stretch: Stretch
) -> Shown:
    """By VOI LUT or window of the file; `number` chooses among several windows."""
    choose, warned = _file_transform(attributes, number, name)
    if choose is not None:
        pixels = choose(values)
        if (pixels != pixels.flat[0]).any() or (values == values.flat[0]).all():
            return pixels, warned
        warned = (WINDOW_UNUSABLE,)
    elif (white := _white(stored, values, attributes)) is not None:
        return between(values, 0.0, white), warned
    no_window = NO_WINDOW_CT if text(attributes, "Modality") == "CT" else NO_WINDOW
    return between(values, *stretch()), warned or (no_window,)


def _file_transform(
    attributes: Dataset, number: int | None, name: str
) -> tuple[Callable[[Array], FloatArray] | None, tuple[str, ...]]:
    if number is None and attributes.get("VOILUTSequence"):
        item = attributes.VOILUTSequence[0]
        return (lambda values: _by_lut(values, item)), ()
    centres, widths = numbers(attributes, "WindowCenter"), numbers(attributes, "WindowWidth")
    pairs = list(zip(centres, widths, strict=False))
    if number is not None and number >= len(pairs):
        raise BadInput(f"{name}: has no window {number + 1}", f"the file has {len(pairs)}")
    if not pairs:
        return None, ((WINDOW_UNUSABLE,) if "WindowCenter" in attributes and attributes.get("WindowCenter") else ())
    centre, width = pairs[number or 0]
    function = text(attributes, "VOILUTFunction") or "LINEAR"
    if width <= 0 or function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        return None, (WINDOW_UNUSABLE,)
    several = (FIRST_WINDOW,) if number is None and len(pairs) > 1 else ()
    return (lambda values: _by_window(values, centre, width, function)), several


def _by_window(values: Array, centre: float, width: float, function: str) -> FloatArray:
    """PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (LINEAR_EXACT)."""
    if function == "SIGMOID":
        from scipy.special import expit  # noqa: PLC0415  (slow to load, and rarely asked for)

        return expit(4.0 * (values.astype(np.float64) - centre) / width).astype(np.float32)
    if function == "LINEAR":
        centre, width = centre - 0.5, max(width - 1.0, _NARROWEST)
    return between(values, *edges((centre, width)))


def _by_lut(values: Array, item: Dataset) -> FloatArray:
    """VOI LUT (PS3.3 C.11.2.1.1); its darkest entry is black and its brightest white, as highdicom shows it."""
    entries = _looked_up(values, item)
    table = _table(item)
    return between(entries, float(table.min()), float(table.max()))


def _white(stored: Array, values: Array, attributes: Dataset) -> float | None:
    """White of unsigned samples that fill their range: up to 8 bits, or 8-bit levels spread over 16; else None."""
    if values is not stored or stored.dtype.kind != "u":
        return None
    bits = int(numbers(attributes, "BitsStored")[0])
    if bits <= 8:
        return float(2**bits - 1)
    spread = stored.dtype == np.uint16 and bits == 16 and not (stored % np.uint16(257)).any()
    return full_scale(stored) if spread else None


def _modality_values(stored: Array, attributes: Dataset, name: str) -> Array:
    """After Modality LUT or rescale (PS3.3 C.11.1); the very array where there is neither."""
    if attributes.get("ModalityLUTSequence"):
        return _looked_up(stored, attributes.ModalityLUTSequence[0])
    slope, intercept = _one(attributes, "RescaleSlope", 1.0, name), _one(attributes, "RescaleIntercept", 0.0, name)
    if (slope, intercept) == (1.0, 0.0):
        return stored
    exact: NDArray[Any] = stored.astype(np.float32 if stored.dtype.itemsize <= 2 else np.float64)
    return exact * slope + intercept


def _one(attributes: Dataset, keyword: str, default: float, name: str) -> float:
    """A number that changes what the samples mean: absent is fine, broken is not."""
    if attributes.get(keyword) in (None, ""):
        return default
    found = numbers(attributes, keyword)
    if len(found) != 1:
        raise BadInput(f"{name}: its {keyword} is not a number", "the file is damaged")
    return found[0]


def _looked_up(values: Array, item: Dataset) -> Array:
    first = int(item.LUTDescriptor[1])
    table = _table(item)
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)
    return table[index]


def _table(item: Dataset) -> NDArray[np.uint16]:
    """Entries of a LUT item; their data are words, or bytes where the value representation is OW."""
    entries = int(item.LUTDescriptor[0]) or 2**16
    element = item["LUTData"]
    if isinstance(element.value, bytes):
        order = "<" if item.original_encoding[1] in (True, None) else ">"
        table = np.frombuffer(element.value, f"{order}u2")
    else:
        table = np.atleast_1d(np.asarray(element.value)).astype(np.uint16)
    if not 0 < entries <= len(table):
        raise BadInput(f"a look-up table has {len(table)} of {entries} entries", "the file is damaged")
    return table[:entries].astype(np.uint16)


def _coloured(stored: Array, attributes: Dataset, name: str) -> FloatArray:
    """PALETTE COLOR (PS3.3 C.7.6.3.1.5), plain or segmented."""
    entries, _first, bits = numbers(attributes, "RedPaletteColorLookupTableDescriptor")
    if bits == 8 and not 0 < entries <= 256:
        raise BadInput(f"{name}: its palette has {entries:.0f} colours of 8 bits", "the file is damaged")
    colours = apply_color_lut(stored, attributes)
    brightest = int(colours.max(initial=0))
    if colours.dtype == np.uint8 or brightest <= 255:
        return between(colours, 0.0, 255.0)
    return between(colours, 0.0, 65535.0 if (colours & 0xFF).any() else 65280.0)


def _check_hounsfield(attributes: Dataset, window: Window, name: str) -> None:
    if not _in_hounsfield(attributes):
        raise BadInput(f"{name}: window {window} is in Hounsfield units, this is no CT in them", "give CENTRE,WIDTH")


def _in_hounsfield(attributes: Dataset) -> bool:
    return text(attributes, "Modality") == "CT" and (text(attributes, "RescaleType") or "HU").startswith("HU")
