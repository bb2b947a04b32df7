"""Where does a mask go? Into a file that lies on its source: same size, and for NIfTI the same voxels in space.

    raster, array, NPY, DICOM frame   ->   NAME.png       8-bit grey, 255 inside, 0 outside
    NIfTI slice or slices             ->   NAME.nii.gz    uint8, shape, affine, qform and sform of the volume
    on request                        ->   NAME.npy       uint8, 1 inside

Of a NIfTI header only geometry is kept: free text, names and extensions are not. gzip carries no name and no time, so
the same mask gives the same bytes. DICOM SEG is written by `medclipsam.io.seg`; which format a scan gets, and what
waits for all of its pictures, is told in `medclipsam.io.mask_files`.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.io.atomic import write_atomic
from medclipsam.types import BoolArray, MedImage

if TYPE_CHECKING:
    from medclipsam.io.nifti import Header, NiftiVolume

MaskFormat = Literal["auto", "png", "nifti", "npy"]
SUFFIXES = {"png": ".png", "nifti": ".nii.gz", "npy": ".npy"}
_GEOMETRY = (
    *("dim", "dim_info", "pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


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


def write_volume_mask(volume: NiftiVolume, masks: Mapping[int, BoolArray], path: Path) -> Path:
    """Write the masks of a NIfTI volume's slices as one volume.

    Args:
        volume: `image.origin.volume` of any slice of the volume.
        masks: `image.origin.index` -> (height, width) mask as drawn on that slice; slices not given are empty.
        path: the file without its suffix; `.nii.gz` is added.

    Returns:
        The path with its suffix.

    Raises:
        BadInput: a slice that the volume has not, or a mask of another size.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    voxels = np.zeros((*volume.shape, 1)[:3], np.uint8)
    for index, mask in masks.items():
        if not 0 <= index < voxels.shape[volume.axis]:
            raise BadInput(f"slice {index} is not one of the volume's {voxels.shape[volume.axis]}")
        slab: list[int | slice] = [slice(None)] * 3
        slab[volume.axis] = index
        placed = volume.view.place(mask)
        if placed.shape != voxels[tuple(slab)].shape:
            raise BadInput(f"slice {index}: a mask of shape {mask.shape} does not fit the volume")
        voxels[tuple(slab)] = placed
    content = _nifti(voxels.reshape(volume.shape), volume.header)
    return write_atomic(_with_suffix(path, "nifti"), gzip.compress(content, compresslevel=6, mtime=0))


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


def _nifti(voxels: NDArray[np.uint8], source: Header) -> bytes:
    """A single-file NIfTI of the source's version: geometry from the source, nothing else."""
    import nibabel as nib  # noqa: PLC0415

    kind: Any = nib.Nifti2Image if source.template_dtype.itemsize == nib.Nifti2Header.sizeof_hdr else nib.Nifti1Image
    header = kind.header_class()
    for name in _GEOMETRY:
        header[name] = source[name]
    header.set_data_dtype(np.uint8)
    return bytes(kind(voxels, None, header).to_bytes())
