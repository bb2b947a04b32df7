"""Where does a mask go? Into a file that lies on its source: same size, and for NIfTI the same voxels in space.

    raster, array, NPY, DICOM frame   ->   NAME.png       8-bit grey, 255 inside, 0 outside
    NIfTI slice or slices             ->   NAME.nii.gz    uint8, shape, affine, qform and sform of the volume
    on request                        ->   NAME.npy       uint8, 1 inside

A volume is written by `medclipsam.io.volumes.masks`, a DICOM SEG by `medclipsam.io.dicom.seg`; which format a scan
gets, and what waits for all of its pictures, is told in `medclipsam.io.mask_files`.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.io.atomic import write_atomic
from medclipsam.io.volumes.masks import write_volume_mask
from medclipsam.types import BoolArray, MedImage

MaskFormat = Literal["auto", "png", "nifti", "npy"]
SUFFIXES = {"png": ".png", "nifti": ".nii.gz", "npy": ".npy"}


def write_mask(image: MedImage, mask: BoolArray, path: Path, *, format: MaskFormat = "auto") -> Path:
    """Write the mask of one image.

    Args:
        image: the image that the mask was drawn on.
        mask: (height, width) of that image; it may be empty.
        path: the file without its suffix; the suffix of the format is added.
        format: `auto` is NIfTI for a NIfTI slice (the whole volume, empty elsewhere) and PNG for all others.

    Returns:
        The path with its suffix.

    Raises:
        BadInput: a format that is not known or does not fit the source, or a mask of another size.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    if format == "auto":
        format = "nifti" if image.format == "nifti" else "png"
    if format not in SUFFIXES:
        raise BadInput(f"mask format {format!r} is not known", f"choose one of auto, {', '.join(SUFFIXES)}")
    if mask.shape != image.size:
        raise BadInput(f"{image.name}: a mask of shape {mask.shape} does not fit an image of {image.size}")
    if format == "nifti":
        if image.format != "nifti":
            raise BadInput(f"{image.name}: is no NIfTI slice, so a NIfTI mask has no place", "choose png or npy")
        return write_volume_mask(image.origin.volume, {image.origin.index: mask}, path)
    return write_atomic(_with_suffix(path, format), _png(mask) if format == "png" else _npy(mask))


def _with_suffix(path: Path, format: str) -> Path:
    return path.with_name(path.name + SUFFIXES[format])


def _png(mask: BoolArray) -> bytes:
    stream = BytesIO()
    Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _npy(mask: BoolArray) -> bytes:
    stream = BytesIO()
    np.save(stream, mask.astype(np.uint8), allow_pickle=False)
    return stream.getvalue()
