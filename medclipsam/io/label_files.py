"""Reads the numbers of a mask or label file, pictures as a viewer shows them and volumes with their place in space.

    PNG, BMP, TIFF   grey levels, the indexes of a palette that begins with black, else colours as 0xRRGGBB
    JPEG             white where a sample is at least half of white: compression leaves a halo of values just above 0
    volumes, NPY     whole numbers; values between are probabilities, not labels, and are refused

Scans and masks are decoded by the same readers, and the content of a file decides, not its name. An array of a volume
is transposed to (row, column) or (slice, row, column), and never turned over.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.limits import DEFAULT_MAX_PIXELS, check_file, check_finite, check_pixels, reader_edge
from medclipsam.io.pictures import Shown, opened, page_count, shown
from medclipsam.io.sniff import CALLED, VOLUMES, Format, sniff
from medclipsam.types import BoolArray

if TYPE_CHECKING:
    from medclipsam.io.volumes.geometry import Grid

HALF_OF_WHITE = 128
NEARLY_WHOLE = 1e-3
"""Values that lie as near to a whole number are that label: 0.99999994 is a 1 that was scaled."""
HIGHEST_LABEL = 2**31 - 1
MOST_ROUNDING = 0.05
"""What the scaling of stored integers may add to it."""
READ_HERE = "give NIfTI, NRRD, MHA, MGZ, PNG, JPEG, TIFF, BMP or NPY"

Values = NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelValues:
    """What a mask or label file holds; what is not above 0 is background."""

    values: Values
    """(height, width), or (slices, height, width): whole numbers, or booleans where there is one mask only."""
    coloured: bool = False
    """Whether values are colours, 0xRRGGBB."""
    soft: bool = False
    """Whether many grey values may be soft edges rather than labels."""
    grid: Grid | None = None
    """Where the voxels of a volume lie, in the order of the file: the axes of `values` from the last to the first."""
    read_elsewhere: tuple[Grid, ...] = ()
    """Where other readers place the same voxels, if the file can be read in several ways."""


def read_label_values(path: Path, above: int | None = None) -> LabelValues:
    """Read a mask or a map of labels.

    Args:
        path: the file; its content decides how it is read.
        above: in place of the rules above, the foreground of pictures are grey values above this.

    Raises:
        BadInput: a file that cannot be read, is too large, has another number of axes than 2 or 3, holds NaN, or is a
            probability map; a picture whose mask is hidden by transparency; or a lossless picture that is not empty and
            has nothing `above`.
    """
    check_file(path)
    found = _format(path)
    with reader_edge(path.name, CALLED[found]):
        if found == "raster":
            return _picture(path, above)
        if found in VOLUMES:
            return _volume(path, found)
        if found == "npy":
            return LabelValues(values=whole_numbers(path.name, np.load(path, mmap_mode="r", allow_pickle=False)))
    raise BadInput(f"{path.name} is no mask file", READ_HERE)


def read_foreground(path: Path) -> BoolArray:
    """The mask of a file that holds one structure, whatever its value.

    Raises:
        BadInput: see `read_label_values`; or the file holds several labels, which are never united.
    """
    inside = (values := read_label_values(path).values) > 0
    labels = np.unique(values[inside])
    if len(labels) > 1:
        raise BadInput(f"{path.name} holds several labels: {labels[0]} ... {labels[-1]}", "save each structure alone")
    return np.asarray(inside)


def _format(path: Path) -> Format:
    with reader_edge(path.name, "a mask"):
        try:
            return sniff(path)
        except BadInput as error:
            raise BadInput(error.problem, READ_HERE) from error


def _picture(path: Path, above: int | None) -> LabelValues:
    with opened(path) as picture:
        check_pixels(path.name, picture.height, picture.width, DEFAULT_MAX_PIXELS)
        if page_count(picture, path.name) != 1:
            raise BadInput(f"{path.name} holds several pictures", "give one mask a file")
        picture.seek(0)
        found = shown(picture, path)
    if found.hidden:
        raise BadInput(f"{path.name} is black wherever it is not transparent", "save the mask as 0 and 255")
    if found.mirrored:
        raise BadInput(f"{path.name} holds floating values whose least is white", "save the mask as 0 and 255")
    if above is not None:
        return LabelValues(values=_grey_above(path.name, found, above))
    if found.lossy:
        return LabelValues(values=_half_of_white(path.name, found.samples))
    return _lossless(path.name, found)


def _lossless(name: str, found: Shown) -> LabelValues:
    samples = found.samples
    if found.indexes is not None and _means_the_same(found.indexes, samples):
        return LabelValues(values=found.indexes)
    if samples.ndim == 3 and not (samples == samples[..., :1]).all():
        return LabelValues(values=_colours(samples), coloured=True)
    grey = samples if samples.ndim == 2 else samples[..., 0]
    return LabelValues(values=whole_numbers(name, grey), soft=grey.dtype == np.uint8)


def _means_the_same(indexes: Values, colours: Values) -> bool:
    """Whether index 0 alone is shown black, so that the indexes of a palette are its labels."""
    return np.array_equal(indexes > 0, (colours > 0).any(axis=-1))


def _colours(channels: Values) -> Values:
    """(height, width, 3) as one number for each pixel."""
    packed = np.zeros(channels.shape[:2], np.int64)
    for channel in np.moveaxis(channels, -1, 0):
        packed = packed * (np.iinfo(channels.dtype).max + 1) + channel
    return packed


def _half_of_white(name: str, samples: Values) -> BoolArray:
    if 0 < samples.max() < HALF_OF_WHITE:
        raise BadInput(
            f"{name} is a JPEG whose brightest value is {samples.max()}, less than half of white",
            "save masks as PNG, 0 and 255",
        )
    inside = samples >= HALF_OF_WHITE
    return np.asarray(inside if inside.ndim == 2 else inside.any(axis=-1))


def _grey_above(name: str, found: Shown, above: int) -> BoolArray:
    """A mask of 0 and 1 would be empty without a word; the halo of a compressed one is empty indeed."""
    values = _luma(found.samples)
    if not found.lossy and 0 < values.max() <= above:
        raise BadInput(f"{name} holds no value above {above}, but {values.max()}", "save masks as 0 and 255")
    return np.asarray(values > above)


def _luma(samples: Values) -> Values:
    """Grey of colours by ITU-R BT.601, rounded down as Pillow does; a bit is 0 or 255."""
    if samples.dtype == bool:
        return samples * np.uint8(255)
    if samples.ndim == 2:
        return samples
    red, green, blue = (samples[..., channel].astype(np.int64) for channel in range(3))
    return (red * 19595 + green * 38470 + blue * 7471 + 2**15) >> 16


def _volume(path: Path, found: Format) -> LabelValues:
    from medclipsam.io.volumes.opening import stored_volume  # noqa: PLC0415  (pictures need none of it)

    volume = stored_volume(found, path, path.name)
    values = whole_numbers(path.name, np.asarray(volume.voxels).T, _rounding(volume.voxels))
    return LabelValues(
        values=values[0] if len(values) == 1 else values, grid=volume.grid, read_elsewhere=volume.read_elsewhere
    )


def _rounding(voxels: Any) -> float:
    """How far a label may lie from its number because it was stored as an integer and a scale."""
    scaled = np.dtype(voxels.dtype).kind in "iu" and float(voxels.slope) != 1
    return min(abs(float(voxels.slope)) / 2, MOST_ROUNDING) if scaled else 0.0


def whole_numbers(name: str, values: Values, rounding: float = 0.0) -> Values:
    """Labels as booleans or integers; floating values that lie nearer to a whole number than `NEARLY_WHOLE` are it.

    Args:
        name: the file to speak of.
        values: (height, width) or (slices, height, width).
        rounding: how far from its number a label may lie, where that is more.

    Raises:
        BadInput: other shapes or types, NaN, or values that are no labels.
    """
    if values.ndim not in (2, 3) or values.size == 0:
        raise BadInput(f"{name}: an array of shape {values.shape} is not a mask (height, width)")
    if values.dtype.kind not in "biuf":
        raise BadInput(f"{name}: an array of {values.dtype} is not a mask", "save it as boolean or integer")
    if values.dtype.kind != "f":
        return values
    check_finite(name, values)
    nearest = np.rint(values)
    far = np.abs(values - nearest) > max(NEARLY_WHOLE + 1e-6, rounding)
    _check_whole(name, values[(values > 0) & (far | (nearest > HIGHEST_LABEL))])
    return np.maximum(nearest, 0).astype(np.int32)


def _check_whole(name: str, odd: Values) -> None:
    if (odd < 1).any():
        raise BadInput(f"{name} holds values between 0 and 1: probabilities, not a mask", "threshold it first")
    if odd.size:
        raise BadInput(
            f"{name} holds values that are not whole numbers, such as {odd[0]:g}: no labels", "save labels as integers"
        )
