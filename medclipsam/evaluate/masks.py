"""Reads a mask back from a file: foreground is what is above 0, and several labels are never united.

    PNG, BMP, TIFF   any colour channel above 0; transparency does not count; palette images by their index
    JPEG             at least half of white: compression leaves a halo of values just above 0
    NIfTI, NPY       above 0; values between 0 and 1 are probabilities, not a mask, and are refused

A file whose foreground has one value (1, or 255, or one colour) is a mask. One with several is a label map, and whoever
asks for its mask says which label.

A NIfTI array is transposed to (row, column) or (slice, row, column). It is never turned over: two NIfTI masks are
compared voxel by voxel, and only if their affines agree.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.io.edge import reader_edge
from medclipsam.io.limits import DEFAULT_MAX_PIXELS, check_decoded, check_file, check_finite, check_pixels
from medclipsam.types import BoolArray

LOSSY = (".jpg", ".jpeg")
RASTER = (".png", ".bmp", ".tif", ".tiff", *LOSSY)
VOXELS = (".nii.gz", ".nii")
MASK_SUFFIXES = (*VOXELS, *RASTER, ".npy")
HALF_OF_WHITE = 128
MOST_TOLD = 8
"""Labels that a refusal names one by one."""
HOW_TO_CHOOSE = "choose one with --label N, or name them all with --labels FILE"
Values = NDArray[Any]


class SeveralLabels(BadInput):
    """A label map where one mask was wanted."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskFile:
    """A mask and what its file says of the space it lies in."""

    mask: BoolArray
    """(height, width), or (slices, height, width)."""
    spacing_mm: tuple[float, ...] | None = None
    """One distance for each axis of the mask; None where the file does not say."""
    affine: NDArray[np.float64] | None = None
    """(4, 4) of a NIfTI file."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelFile:
    """A file of one mask or of several labels, and what it says of the space it lies in."""

    name: str
    values: Values
    """(height, width), or (slices, height, width); what is not above 0 is background. Of a picture with colours the
    colour as one number, 0xRRGGBB."""
    coloured: bool = False
    """Whether values are colours."""
    soft: bool = False
    """Whether many grey values may be soft edges rather than labels."""
    spacing_mm: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None

    @cached_property
    def labels(self) -> tuple[int, ...]:
        """The values of the foreground, in order; empty for an empty mask."""
        return tuple(int(value) for value in np.unique(self.values[self.values > 0]))

    def mask(self, labels: Collection[int] | None = None) -> MaskFile:
        """The mask of some labels together, empty where there is none of them; of the only label where None.

        Raises:
            SeveralLabels: there are several, and none is chosen.
        """
        if labels is None and len(self.labels) > 1:
            raise self._several()
        inside = self.values > 0 if labels is None else np.isin(self.values, list(labels))
        return MaskFile(mask=np.asarray(inside), spacing_mm=self.spacing_mm, affine=self.affine)

    def _several(self) -> SeveralLabels:
        first, last, count = self.labels[0], self.labels[-1], len(self.labels)
        if count <= MOST_TOLD:
            told = ", ".join(f"#{label:06x}" if self.coloured else str(label) for label in self.labels)
            return SeveralLabels(f"{self.name} holds several labels: {told}", HOW_TO_CHOOSE)
        if self.soft:
            remedy = f"{HOW_TO_CHOOSE}; take soft edges with --above 127"
            return SeveralLabels(f"{self.name} holds {count} grey values from {first} to {last}, not one mask", remedy)
        return SeveralLabels(f"{self.name} holds {count} labels from {first} to {last}", HOW_TO_CHOOSE)


def mask_suffix(name: str) -> str | None:
    """The ending that says how to read a mask, `.nii.gz` counted as one; None for other files."""
    return next((suffix for suffix in MASK_SUFFIXES if name.lower().endswith(suffix)), None)


def read_mask(path: Path, above: int | None = None, labels: Collection[int] | None = None) -> MaskFile:
    """Read one mask.

    Args:
        path: the file.
        above: in place of the rules above, the foreground of pictures are grey values above this.
        labels: the values that are the mask, of a file that holds several.

    Raises:
        SeveralLabels: the file holds several labels, and none is chosen.
        BadInput: see `read_labels`.
    """
    return read_labels(path, above).mask(labels)


def read_labels(path: Path, above: int | None = None) -> LabelFile:
    """Read a mask or a map of labels.

    Raises:
        BadInput: a file that cannot be read, is too large, has another number of axes than 2 or 3, holds NaN, or is a
            probability map; or a lossless picture that is not empty and has nothing `above`.
    """
    suffix = mask_suffix(path.name)
    if suffix is None:
        raise BadInput(f"{path.name} is no mask file", f"give one of {', '.join(MASK_SUFFIXES)}")
    check_file(path)
    with reader_edge(path.name, f"a {suffix} mask"):
        if suffix in RASTER:
            return _raster(path, suffix in LOSSY, above)
        if suffix in VOXELS:
            return _nifti(path)
        return LabelFile(name=path.name, values=_labels(path.name, np.load(path, mmap_mode="r", allow_pickle=False)))


def _raster(path: Path, lossy: bool, above: int | None) -> LabelFile:
    with Image.open(path) as image:
        check_pixels(path.name, image.height, image.width, DEFAULT_MAX_PIXELS)
        if getattr(image, "n_frames", 1) != 1:
            raise BadInput(f"{path.name} holds several pictures", "give one mask a file")
        if above is not None:
            grey = np.asarray(image.convert("L"))
            return LabelFile(name=path.name, values=_grey_above(path.name, grey, lossy, above))
        colours = len([band for band in image.getbands() if band != "A"])
        values = np.asarray(image)
    channels = values.reshape(*values.shape[:2], -1)[..., :colours]
    if lossy:
        return LabelFile(name=path.name, values=np.asarray((channels >= HALF_OF_WHITE).any(axis=-1)))
    if (channels == channels[..., :1]).all():
        return LabelFile(name=path.name, values=_labels(path.name, channels[..., 0]), soft=channels.dtype == np.uint8)
    return LabelFile(name=path.name, values=_colours(channels), coloured=True)


def _colours(channels: Values) -> Values:
    """(height, width, 3) of bytes as one number for each pixel."""
    packed = np.zeros(channels.shape[:2], np.int64)
    for channel in np.moveaxis(channels, -1, 0):
        packed = packed * 256 + channel
    return packed


def _grey_above(name: str, values: NDArray[np.uint8], lossy: bool, above: int) -> BoolArray:
    """A mask of 0 and 1 would be empty without a word; the halo of a compressed one is empty indeed."""
    if not lossy and 0 < values.max() <= above:
        raise BadInput(f"{name} holds no value above {above}, but {values.max()}", "save masks as 0 and 255")
    return np.asarray(values > above)


def _nifti(path: Path) -> LabelFile:
    image: Any = nib.load(path)
    shape, affine = _without_trailing_ones(image.shape), np.asarray(image.affine, float)
    check_decoded(path.name, int(np.prod(image.shape)) * image.get_data_dtype().itemsize)
    values = np.asanyarray(image.dataobj).reshape(shape).T
    steps = tuple(float(step) for step in image.header.get_zooms()[: len(shape)][::-1])
    known = all(0 < step < np.inf for step in steps)
    spacing = steps if known else None
    return LabelFile(name=path.name, values=_labels(path.name, values), spacing_mm=spacing, affine=affine)


def _without_trailing_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _labels(name: str, values: Values) -> Values:
    if values.ndim not in (2, 3) or values.size == 0:
        raise BadInput(f"{name}: an array of shape {values.shape} is not a mask (height, width)")
    if values.dtype.kind not in "biuf":
        raise BadInput(f"{name}: an array of {values.dtype} is not a mask", "save it as boolean or integer")
    check_finite(name, values)
    if values.dtype.kind == "f":
        _check_whole(name, values[values > 0])
    return values


def _check_whole(name: str, values: Values) -> None:
    if (values < 1).any():
        raise BadInput(f"{name} holds values between 0 and 1: probabilities, not a mask", "threshold it first")
    if (values != np.round(values)).any():
        raise BadInput(f"{name} holds values that are not whole numbers: no labels", "save labels as integers")
