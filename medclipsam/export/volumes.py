"""Stacks the masks of a scan into volumes on the scan's own grid, and brings scans that other tools read as volumes.

volume file      its own grid, its own file where a tool reads it
DICOM series     the grid that its slices lie on; the scan is written as NIfTI, with its stored values and no names
pictures         one on another, a pixel as large as the file says, else 1 mm; to the left and to the back, as ITK does
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.export.labelled import LabelledScan
from medclipsam.export.pixels import LabelledImage, OpenScan
from medclipsam.io.atomic import atomic_path
from medclipsam.io.volumes.geometry import Grid, SliceView
from medclipsam.io.volumes.masks import PackedMasks, check_oriented
from medclipsam.io.volumes.source import Volume
from medclipsam.io.volumes.stacked import slice_number, volume_of
from medclipsam.types import BoolArray

PICTURES = "pictures"
"""Format of a volume of pictures, which have no place in the patient."""
NIFTI = ".nii.gz"
_INT16 = np.iinfo(np.int16)


@dataclass(eq=False, kw_only=True)
class LabelledVolume:
    """A scan with its masks, slice by slice."""

    scan: LabelledScan
    volume: Volume
    masks: Mapping[str, PackedMasks]
    """(height, width) of each slice, as shown, by prompt and by the number of the slice in the volume."""
    ignored: PackedMasks
    """Pixels of which the run was not sure, likewise."""
    values: dict[int, NDArray[Any]] = field(default_factory=dict)
    """The scan's own numbers, likewise, where they are wanted."""

    @property
    def is_pictures(self) -> bool:
        """Whether it has no place in the patient."""
        return self.volume.format == PICTURES

    def planes(self) -> Iterator[tuple[int, dict[str, BoolArray], BoolArray]]:
        """(number of the slice, masks by prompt, ignored pixels) of each slice."""
        for number, ignored in self.ignored.items():
            yield number, {prompt: masks[number] for prompt, masks in self.masks.items()}, ignored

    def sizes(self) -> dict[str, int]:
        """Number of voxels of each prompt."""
        return {prompt: sum(int(mask.sum()) for mask in masks.values()) for prompt, masks in self.masks.items()}

    def filled(self, planes: Iterable[tuple[int, NDArray[Any]]], kind: type[np.generic]) -> NDArray[Any]:
        """(a, b, c) voxels of planes as they are shown; 0 where there is none."""
        voxels = np.zeros(self.volume.grid.shape, kind, order="F")
        across = np.moveaxis(voxels, self.volume.axis, 0)
        for number, plane in planes:
            across[number] = self.volume.view.place(plane)
        return voxels


def stacked(scan: OpenScan, *, with_values: bool = False) -> LabelledVolume:
    """One scan as a volume.

    Raises:
        BadInput: images that cannot be read, of several sizes, or that make no volume.
    """
    found: LabelledVolume | None = None
    for index, each in enumerate(scan.images(whole=True)):
        found = found or _empty(scan, each)
        if each.image.size != _size(found.volume):
            raise BadInput(f"images of {each.image.size} and {_size(found.volume)} pixels make no volume")
        number = index if found.is_pictures else slice_number(found.volume, each.image)
        for prompt, mask in each.masks.items():
            found.masks[prompt].put(number, mask)
        found.ignored.put(number, each.ignored)
        if with_values and each.image.values is not None:
            found.values[number] = each.image.values
    if found is None:
        raise BadInput("it holds no images")
    return found


def _empty(scan: OpenScan, first: LabelledImage) -> LabelledVolume:
    volume = (
        volume_of(first.image, scan.pictures.corners_lps)
        if scan.kind == "volumes"
        else picture_volume(first.image.size, len(scan.pictures), first.image.spacing_mm or (1.0, 1.0))
    )
    masks = {prompt: PackedMasks() for prompt in first.masks}
    return LabelledVolume(scan=scan.scan, volume=volume, masks=masks, ignored=PackedMasks())


def picture_volume(size: tuple[int, int], count: int, spacing_mm: tuple[float, float] = (1.0, 1.0)) -> Volume:
    """The volume of `count` pictures of (height, width) pixels."""
    height, width = size
    grid = Grid(shape=(width, height, count), affine=np.diag([-spacing_mm[1], -spacing_mm[0], 1.0, 1.0]))
    view = SliceView(transposed=True, flipped_rows=False, flipped_columns=False)
    return Volume(format=PICTURES, header=None, shape=grid.shape, grid=grid, axis=2, view=view)


def _size(volume: Volume) -> tuple[int, int]:
    """(height, width) of a slice as it is shown."""
    rows, columns = (side for axis, side in enumerate(volume.grid.shape) if axis != volume.axis)
    return (columns, rows) if volume.view.transposed else (rows, columns)


def write_scan(found: LabelledVolume, path: Path) -> Path:
    """Write a scan's own numbers as NIfTI, as integers where they are, without anything that its header tells.

    Args:
        found: with its values.
        path: the file without its suffix.

    Returns:
        The path with its suffix.

    Raises:
        BadInput: a volume that does not say how it lies in the patient, or colours.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    from medclipsam.io.volumes.nifti import write_nifti  # noqa: PLC0415

    if not found.values:
        raise BadInput("colours are not written as volumes", "export them as pictures")
    whole = all(_fits(plane) for plane in found.values.values())
    voxels = found.filled(found.values.items(), np.int16 if whole else np.float32)
    target = path.with_name(path.name + NIFTI)
    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        write_nifti(stream, unsourced(found.volume, "NIfTI"), [voxels], voxels.dtype.type)
    return target


def unsourced(volume: Volume, format: str) -> Volume:
    """The same grid without the header of its source, to be written anew.

    Raises:
        BadInput: it does not say how it lies in the patient.
    """
    check_oriented(volume, format)
    return replace(volume, format="grid", header=None, shape=volume.grid.shape)


def _fits(plane: NDArray[Any]) -> bool:
    return bool((plane == np.rint(plane)).all() and plane.min() >= _INT16.min and plane.max() <= _INT16.max)
