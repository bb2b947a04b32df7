"""How is a mask read back from a file? Foreground is what is above 0, whatever wrote it.

    PNG, BMP, TIFF   any colour channel above 0; transparency does not count; palette images by their index
    JPEG             at least half of white: compression leaves a halo of values just above 0
    NIfTI, NPY       above 0; values between 0 and 1 are probabilities, not a mask, and are refused

A NIfTI array is transposed to (row, column) or (slice, row, column). It is never turned over: two NIfTI masks are
compared voxel by voxel, and only if their affines agree.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskFile:
    """A mask and what its file says of the space it lies in."""

    mask: BoolArray
    """(height, width), or (slices, height, width)."""
    spacing_mm: tuple[float, ...] | None = None
    """One distance for each axis of the mask; None where the file does not say."""
    affine: NDArray[np.float64] | None = None
    """(4, 4) of a NIfTI file."""


def mask_suffix(name: str) -> str | None:
    """The ending that says how to read a mask, `.nii.gz` counted as one; None for other files."""
    return next((suffix for suffix in MASK_SUFFIXES if name.lower().endswith(suffix)), None)


def read_mask(path: Path, above: int | None = None) -> MaskFile:
    """Read one mask.

    Args:
        path: the file.
        above: in place of the rules above, the foreground of pictures are grey values above this.

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
            return MaskFile(mask=_raster(path, suffix in LOSSY, above))
        if suffix in VOXELS:
            return _nifti(path)
        return MaskFile(mask=_above_zero(path.name, np.load(path, mmap_mode="r", allow_pickle=False)))


def _raster(path: Path, lossy: bool, above: int | None) -> BoolArray:
    with Image.open(path) as image:
        check_pixels(path.name, image.height, image.width, DEFAULT_MAX_PIXELS)
        if getattr(image, "n_frames", 1) != 1:
            raise BadInput(f"{path.name} holds several pictures", "give one mask a file")
        if above is not None:
            return _grey_above(path.name, np.asarray(image.convert("L")), lossy, above)
        colours = len([band for band in image.getbands() if band != "A"])
        values = np.asarray(image)
    least = HALF_OF_WHITE if lossy else 1
    return np.asarray((values.reshape(*values.shape[:2], -1)[..., :colours] >= least).any(axis=-1))


def _grey_above(name: str, values: NDArray[np.uint8], lossy: bool, above: int) -> BoolArray:
    """A mask of 0 and 1 would be empty without a word; the halo of a compressed one is empty indeed."""
    if not lossy and 0 < values.max() <= above:
        raise BadInput(f"{name} holds no value above {above}, but {values.max()}", "save masks as 0 and 255")
    return np.asarray(values > above)


def _nifti(path: Path) -> MaskFile:
    image: Any = nib.load(path)
    shape, affine = _without_trailing_ones(image.shape), np.asarray(image.affine, float)
    check_decoded(path.name, int(np.prod(image.shape)) * image.get_data_dtype().itemsize)
    values = np.asanyarray(image.dataobj).reshape(shape).T
    steps = tuple(float(step) for step in image.header.get_zooms()[: len(shape)][::-1])
    known = all(0 < step < np.inf for step in steps)
    return MaskFile(mask=_above_zero(path.name, values), spacing_mm=steps if known else None, affine=affine)


def _without_trailing_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _above_zero(name: str, values: NDArray[Any]) -> BoolArray:
    if values.ndim not in (2, 3) or values.size == 0:
        raise BadInput(f"{name}: an array of shape {values.shape} is not a mask (height, width)")
    if values.dtype.kind not in "biuf":
        raise BadInput(f"{name}: an array of {values.dtype} is not a mask", "save it as boolean or integer")
    check_finite(name, values)
    if values.dtype.kind == "f" and ((values > 0) & (values < 1)).any():
        raise BadInput(f"{name} holds values between 0 and 1: probabilities, not a mask", "threshold it first")
    return np.asarray(values > 0)
