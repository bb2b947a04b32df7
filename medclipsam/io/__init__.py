"""Formats in, masks out. Nothing is loaded before it is used.

read_image, read_images, count_images, is_readable     DICOM, volumes, PNG, JPEG, TIFF, BMP, NPY -> MedImage
image_from_array                                       NumPy -> MedImage
write_mask, write_volume_mask                          mask -> PNG, NPY, NIfTI, NRRD, MHA, MGZ on its source's geometry
write_seg, write_rtstruct                              masks -> DICOM SEG, DICOM RT Structure Set
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medclipsam.io.dicom.rtstruct import write_rtstruct
    from medclipsam.io.dicom.seg import write_seg
    from medclipsam.io.masks import write_mask
    from medclipsam.io.npy import image_from_array
    from medclipsam.io.reading import count_images, is_readable, read_image, read_images
    from medclipsam.io.volumes.masks import write_volume_mask

__all__ = [
    "count_images",
    "image_from_array",
    "is_readable",
    "read_image",
    "read_images",
    "write_mask",
    "write_rtstruct",
    "write_seg",
    "write_volume_mask",
]

_HOMES = {
    "count_images": "reading",
    "image_from_array": "npy",
    "is_readable": "reading",
    "read_image": "reading",
    "read_images": "reading",
    "write_mask": "masks",
    "write_rtstruct": "dicom.rtstruct",
    "write_seg": "dicom.seg",
    "write_volume_mask": "volumes.masks",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
