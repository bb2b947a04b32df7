"""Writes the masks of a volume's slices as one file, without the volume ever being in memory.

    slice masks, packed 8 pixels to a byte  --planes of the file's slowest axis-->  packed  -->  .nii.gz .nrrd .mha .mgz

A mask in the format of its source keeps what the source's header says of geometry; in another format it lies on the
same grid, written anew. Free text, names and extensions are never kept, and the same masks give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.atomic import atomic_path

if TYPE_CHECKING:
    from medclipsam.io.volumes.source import Volume

    Writer = Callable[[IO[bytes], Volume, Iterable[NDArray[np.uint8]]], None]

VolumeFormat = Literal["nifti", "nrrd", "mha", "mgz"]
SUFFIXES: dict[VolumeFormat, str] = {"nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha", "mgz": ".mgz"}
SLICER_SUFFIX = ".seg.nrrd"
BLOCK_BYTES = 2**24
"""Bytes of the volume that are put together at once."""
NO_PLACE = "choose auto, png or npy"
_WRITERS: dict[VolumeFormat, tuple[str, str]] = {
    "nifti": ("nifti", "write_nifti"),
    "nrrd": ("nrrd", "write_nrrd"),
    "mha": ("metaimage", "write_metaimage"),
    "mgz": ("mgh", "write_mgh"),
}


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


def write_volume_mask(
    volume: Volume, masks: Mapping[int, NDArray[Any]], path: Path, *, format: VolumeFormat | None = None
) -> Path:
    """Write the masks of a volume's slices as one volume.

    Args:
        volume: `image.origin.volume` of any slice of the volume.
        masks: `image.origin.index` -> (height, width) mask as drawn on that slice; slices not given are empty.
        path: the file without its suffix; that of the format is added.
        format: None: the format of the source.

    Returns:
        The path with its suffix.

    Raises:
        BadInput: a slice that the volume has not, a mask of another size, or another format than the source's while
            the source does not say how it lies in the patient.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    format = check_format(volume, format)
    check_masks(volume, masks)
    target = path.with_name(path.name + SUFFIXES[format])
    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        _writer(format)(stream, volume, blocks(volume, masks))
    return target


def write_labels(volume: Volume, labels: NDArray[np.uint8], path: Path, *, format: VolumeFormat | None = None) -> Path:
    """Write a map of labels on the grid of a volume.

    Args:
        volume: what it lies on.
        labels: (a, b, c), in the order of the volume's voxels.
        path: the file without its suffix; that of the format is added.
        format: None: the format of the volume.

    Returns:
        The path with its suffix.

    Raises:
        BadInput: a map of another shape, or see `check_format`.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    format = check_format(volume, format)
    if labels.shape != volume.grid.shape:
        raise BadInput(f"labels of shape {labels.shape} do not fit a volume of {volume.grid.shape}")
    target = path.with_name(path.name + SUFFIXES[format])
    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        _writer(format)(stream, volume, [labels])
    return target


def check_format(volume: Volume, format: VolumeFormat | None) -> VolumeFormat:
    """The format to write, by default that of the source.

    Raises:
        BadInput: another one, while the source does not say how it lies in the patient.
    """
    if format in (None, volume.format):
        return cast(VolumeFormat, volume.format)
    check_oriented(volume, str(format))
    return cast(VolumeFormat, format)


def check_oriented(volume: Volume, format: str) -> None:
    """Refuse a volume that a mask of another format cannot lie on.

    Raises:
        BadInput: it does not say how it lies in the patient.
    """
    if not volume.grid.oriented:
        raise BadInput(f"the scan does not say how it lies in the patient, so no {format} can", NO_PLACE)


def _writer(format: VolumeFormat) -> Writer:
    """Each format's library is loaded when the first file of it is written."""
    module, function = _WRITERS[format]
    writer: Writer = getattr(import_module(f"medclipsam.io.volumes.{module}"), function)
    return writer


def check_masks(volume: Volume, masks: Mapping[int, NDArray[Any]]) -> None:
    """Refuse masks that are not of the volume's slices.

    Raises:
        BadInput: a slice that the volume has not, or a mask of another size.
    """
    shape = volume.grid.shape
    slab = tuple(side for axis, side in enumerate(shape) if axis != volume.axis)
    for index, mask in masks.items():
        if not 0 <= index < shape[volume.axis]:
            raise BadInput(f"slice {index} is not one of the volume's {shape[volume.axis]}")
        if volume.view.place(mask).shape != slab:
            raise BadInput(f"slice {index}: a mask of shape {mask.shape} does not fit the volume")


def blocks(volume: Volume, masks: Mapping[int, NDArray[Any]]) -> Iterator[NDArray[np.uint8]]:
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
