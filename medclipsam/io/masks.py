"""Writes a mask into a file that lies on its source: same size, and of a volume the same voxels in space.

    raster, array, NPY, DICOM frame   ->   NAME.png       8-bit grey, 255 inside, 0 outside
    slice or slices of a volume       ->   NAME.nii.gz, .nrrd, .mha, .mgz    uint8, on the voxels of the volume
    on request                        ->   NAME.npy       uint8, 1 inside

A map of numbers between 0 and 1 is kept as 16-bit PNG with a fixed scale, 65535 is 1: absolute values survive to within
1 / 131070, and maps of different images can be compared.

A volume is written by `medclipsam.io.volumes.masks`, a DICOM SEG by `medclipsam.io.dicom.seg`; which format a scan
gets, and what waits for all of its pictures, is told in `medclipsam.io.mask_files`.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Literal, cast

import numpy as np

from medclipsam.errors import BadInput
from medclipsam.io.atomic import suffixed, write_atomic
from medclipsam.io.volumes.masks import SUFFIXES as VOLUME_SUFFIXES
from medclipsam.io.volumes.masks import VolumeFormat, write_volume_mask
from medclipsam.types import BoolArray, FloatArray, MedImage

MaskFormat = Literal["auto", "png", "nifti", "nrrd", "mha", "mgz", "npy"]
SUFFIXES: dict[str, str] = {"png": ".png", "npy": ".npy"} | {**VOLUME_SUFFIXES}
FULL = 65535


def write_mask(image: MedImage, mask: BoolArray, path: Path, *, format: MaskFormat = "auto") -> Path:
    """Write the mask of one image.

    Args:
        image: the image that the mask was drawn on.
        mask: (height, width) of that image; it may be empty.
        path: the file without its suffix; the suffix of the format is added.
        format: `auto` is that of the source for a slice of a volume (the whole volume, empty elsewhere), PNG for all
            others.

    Returns:
        The path with its suffix.

    Raises:
        BadInput: a format that is not known or does not fit the source, or a mask of another size.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    if format == "auto":
        format = natural_format(image)
    if format not in SUFFIXES:
        raise BadInput(f"mask format {format!r} is not known", f"choose one of auto, {', '.join(SUFFIXES)}")
    if mask.shape != image.size:
        raise BadInput(f"{image.name}: a mask of shape {mask.shape} does not fit an image of {image.size}")
    if format in VOLUME_SUFFIXES:
        if image.format not in VOLUME_SUFFIXES:
            raise BadInput(f"{image.name}: is no slice of a volume, so {format} has no place", "choose png or npy")
        wanted = cast(VolumeFormat, format)
        return write_volume_mask(image.origin.volume, {image.origin.index: mask}, path, format=wanted)
    return write_atomic(suffixed(path, SUFFIXES[format]), _png(mask) if format == "png" else _npy(mask))


def write_map(values: FloatArray, path: Path) -> Path:
    """Write (height, width) in [0, 1] to `path`, a .png.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
    """
    stream = BytesIO()
    from PIL import Image  # noqa: PLC0415  (who lists formats needs none)

    Image.fromarray((np.clip(values, 0, 1) * FULL).round().astype(np.uint16)).save(stream, "PNG")
    return write_atomic(path, stream.getvalue())


def natural_format(image: MedImage) -> MaskFormat:
    """That of the file for a slice of a volume, PNG for what is an image alone."""
    return cast(MaskFormat, image.format) if image.format in VOLUME_SUFFIXES else "png"


def _png(mask: BoolArray) -> bytes:
    stream = BytesIO()
    from PIL import Image  # noqa: PLC0415  (who lists formats needs none)

    Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _npy(mask: BoolArray) -> bytes:
    stream = BytesIO()
    np.save(stream, mask.astype(np.uint8), allow_pickle=False)
    return stream.getvalue()
