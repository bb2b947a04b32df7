"""Reads NumPy arrays from a .npy file or from memory, never with pickle, the size checked first.

(height, width)       grey          bool, uint8, uint16, or signed and floating values (by percentiles)
(height, width, 3)    colour        the same
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.limits import check_finite, check_pixels
from medclipsam.io.naming import array_name
from medclipsam.io.source import ReadOptions
from medclipsam.io.window import Window, as_rgb, depth_note, display
from medclipsam.types import MedImage


class NpySource:
    """One array of a .npy file.

    Raises:
        BadInput: objects, records or complex numbers, or a shape that is no picture.
    """

    kind = "a NumPy array"
    unit = "image"
    corners_lps = None
    places_mm = None
    count = 1

    def __init__(self, path: Path, name: str, options: ReadOptions) -> None:
        self.name = name
        self._path = path
        self._options = options
        shape, dtype = _header(path)
        _check_array(name, shape, dtype, options.max_pixels)

    def image(self, index: int) -> MedImage:
        """The array; `index` is 0."""
        values = np.array(np.load(self._path, mmap_mode="r", allow_pickle=False))
        return _shown(values, self.name, "npy", self._options.window, None)

    def origin(self, index: int) -> None:
        """Nothing: a mask needs no more than the picture's size."""


def image_from_array(
    array: NDArray[Any],
    *,
    name: str = "array",
    spacing_mm: tuple[float, float] | None = None,
    window: Window = None,
) -> MedImage:
    """A picture from memory, shown like one of a .npy file.

    Args:
        array: (height, width) or (height, width, 3).
        name: a case id; cleaned where it is not safe as a file name.
        spacing_mm: distance of rows and of columns.
        window: see `medclipsam.io.window`.

    Raises:
        BadInput: a shape or type that is no picture, NaN or infinity.
    """
    safe = array_name(name)
    _check_array(safe, array.shape, array.dtype, max(array.size, 1))
    return _shown(array, safe, "array", window, spacing_mm)


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with path.open("rb") as stream:
        major, _minor = npy_format.read_magic(stream)
        read = npy_format.read_array_header_1_0 if major == 1 else npy_format.read_array_header_2_0
        shape, _fortran, dtype = read(stream)
    return shape, dtype


def _check_array(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], max_pixels: int) -> None:
    if dtype.kind not in "buif":
        raise BadInput(f"{name}: an array of {dtype.name} holds no picture", "save numbers, without pickle")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
        raise BadInput(f"{name}: an array of shape {shape} is no picture", "save (height, width) or (height, width, 3)")
    check_pixels(name, shape[0], shape[1], max_pixels)


def _shown(
    array: NDArray[Any], name: str, kind: str, window: Window, spacing_mm: tuple[float, float] | None
) -> MedImage:
    values = array.astype(array.dtype.newbyteorder("="))
    check_finite(name, values)
    pixels, constant = as_rgb(display(values, window, name))
    warned = (*depth_note(values, window), *constant)
    grey = values if values.ndim == 2 and values.dtype.kind != "b" else None
    return MedImage(pixels=pixels, name=name, format=kind, spacing_mm=spacing_mm, warnings=warned, values=grey)
