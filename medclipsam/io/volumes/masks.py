"""Writes the masks of a volume's slices as one NIfTI file, without the volume ever being in memory.

    slice masks, packed 8 pixels to a byte  --planes of the file's slowest axis-->  gzip  -->  .nii.gz

Of the source's header only geometry is kept: free text, names and extensions are not. gzip carries no name and no time,
so the same masks give the same bytes.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.atomic import atomic_path

if TYPE_CHECKING:
    from medclipsam.io.volumes.nifti import Header
    from medclipsam.io.volumes.source import Volume

SUFFIX = ".nii.gz"
BLOCK_BYTES = 2**24
"""Of the volume that are put together at once."""
_GEOMETRY = (
    *("dim", "dim_info", "pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
_NO_EXTENSION = bytes(4)


class PackedMasks(Mapping[int, NDArray[Any]]):
    """Masks by the index of their slice, (height, width) each, or labels from 0 to 3; in a bit or two for a pixel."""

    def __init__(self) -> None:
        self._packed: dict[int, tuple[tuple[int, ...], NDArray[np.uint8]]] = {}

    def put(self, index: int, values: NDArray[Any]) -> None:
        """Keep the mask, or the labels (integers), of a slice."""
        planes = values[None] if values.dtype == bool else np.stack([values & 1, values & 2])
        self._packed[index] = planes.shape, np.packbits(planes)

    def __getitem__(self, index: int) -> NDArray[Any]:
        shape, bits = self._packed[index]
        planes = np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape)
        return planes[0].astype(bool) if len(planes) == 1 else planes[0] + 2 * planes[1]

    def __iter__(self) -> Iterator[int]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)


def write_volume_mask(volume: Volume, masks: Mapping[int, NDArray[Any]], path: Path) -> Path:
    """Write the masks of a volume's slices as one volume.

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
    target = path.with_name(path.name + SUFFIX)
    _check(volume, masks)
    with (
        atomic_path(target) as temporary,
        temporary.open("wb") as stream,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=stream, mtime=0) as packed,
    ):
        packed.write(_header(volume.header) + _NO_EXTENSION)
        for block in _blocks(volume, masks):
            packed.write(block.tobytes(order="F"))
    return target


def _check(volume: Volume, masks: Mapping[int, NDArray[Any]]) -> None:
    shape = volume.grid.shape
    slab = tuple(side for axis, side in enumerate(shape) if axis != volume.axis)
    for index, mask in masks.items():
        if not 0 <= index < shape[volume.axis]:
            raise BadInput(f"slice {index} is not one of the volume's {shape[volume.axis]}")
        if volume.view.place(mask).shape != slab:
            raise BadInput(f"slice {index}: a mask of shape {mask.shape} does not fit the volume")


def _blocks(volume: Volume, masks: Mapping[int, NDArray[Any]]) -> Iterator[NDArray[np.uint8]]:
    """(a, b, some planes) of the volume in turn, along the axis that changes slowest in the file."""
    rows, columns, planes = volume.grid.shape
    some = 1 if volume.axis == 2 else max(1, BLOCK_BYTES // (rows * columns))
    for start in range(0, planes, some):
        stop = min(planes, start + some)
        block = np.zeros((rows, columns, stop - start), np.uint8)
        if volume.axis == 2:
            if start in masks:
                block[..., 0] = volume.view.place(masks[start])
        else:
            across = np.moveaxis(block, volume.axis, 0)
            for index, mask in masks.items():
                across[index] = volume.view.place(mask)[:, start:stop]
        yield block


def _header(source: Header) -> bytes:
    """A single-file header of the source's version: geometry from the source, nothing else."""
    import nibabel as nib  # noqa: PLC0415

    is_second = source.template_dtype.itemsize == nib.Nifti2Header.sizeof_hdr
    header = (nib.Nifti2Header if is_second else nib.Nifti1Header)()
    for name in _GEOMETRY:
        header[name] = source[name]
    header.set_data_dtype(np.uint8)
    header.set_data_offset(header.sizeof_hdr + len(_NO_EXTENSION))
    return bytes(header.binaryblock)
