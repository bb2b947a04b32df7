"""Makes one volume of slices that come one by one: of a volume file its own, of a DICOM series the grid they lie on.

    slices at  0  5  10  15 mm     ->   4 slices, 5 mm apart
               0  5      15        ->   4 slices, 5 mm apart: what is missing is empty
               0  5  9   16        ->   refused: no volume has slices so

A tilted gantry gives a sheared grid: no slice is resampled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.volumes.geometry import Grid, SliceView
from medclipsam.io.volumes.masks import PackedMasks
from medclipsam.io.volumes.source import Volume, VolumeSlice
from medclipsam.types import BoolArray, MedImage

UNEVEN = 0.05
"""Share of the slice distance by which a slice may lie off the grid."""
ANOTHER_FORMAT = "choose seg, png or npy"

Corners = Sequence[Sequence[float]]
"""Where the first pixel of each slice lies, in mm towards left, back and head, in the order of the slices."""
Vectors = NDArray[np.float64]


class StackedMasks:
    """The masks of the slices of one scan, until all are there.

    Args:
        corners: of all slices that are asked for, of a DICOM series.
    """

    def __init__(self, corners: Corners | None = None) -> None:
        self._corners = corners
        self._volume: Volume | None = None
        self.prompts: dict[str, PackedMasks] = {}
        """The masks of each prompt, by the number of the slice in the volume."""

    def add(self, image: MedImage, prompt: str, mask: BoolArray) -> None:
        """Take the mask of a prompt on a slice.

        Raises:
            BadInput: slices that make no volume.
        """
        if self._volume is None:
            self._volume = volume_of(image, self._corners)
        self.prompts.setdefault(prompt, PackedMasks()).put(slice_number(self._volume, image), mask)

    @property
    def volume(self) -> Volume:
        """What the masks lie on.

        Raises:
            ValueError: nothing was added.
        """
        if self._volume is None:
            raise ValueError("no slice was added")
        return self._volume


def volume_of(image: MedImage, corners: Corners | None) -> Volume:
    """The volume that an image is a slice of.

    Args:
        image: a slice of a volume file, or of a DICOM series.
        corners: of all slices of the series.

    Raises:
        BadInput: a slice that does not say how it lies in the patient, or slices that make no volume.
    """
    if isinstance(image.origin, VolumeSlice):
        return image.origin.volume
    if image.plane_lps is None or corners is None:
        raise BadInput(f"{image.name}: does not say how it lies in the patient", ANOTHER_FORMAT)
    return _regular(image.plane_lps[:, :2], np.asarray(corners, np.float64), image.size)


def slice_number(volume: Volume, image: MedImage) -> int:
    """The number of a slice in the volume."""
    if isinstance(image.origin, VolumeSlice):
        return image.origin.index
    corner = np.append(np.diag([-1.0, -1.0, 1.0]) @ np.asarray(image.plane_lps)[:, 2], 1.0)
    return int(np.rint(np.linalg.solve(volume.grid.affine, corner)[2]))


def _regular(directions: Vectors, corners: Vectors, size: tuple[int, int]) -> Volume:
    """The volume of parallel slices of one size, whose rows and columns run as `directions` (3, 2) say."""
    if len(corners) < 2:
        raise BadInput("one slice alone does not say how thick it is, so it makes no volume", ANOTHER_FORMAT)
    places = _numbers(corners, directions)
    along = (corners[-1] - corners[0]) / places[-1]
    off = np.linalg.norm(corners - corners[0] - np.outer(places, along), axis=1).max()
    if off > UNEVEN * np.linalg.norm(along):
        raise BadInput("slices that are unevenly spaced make no volume", ANOTHER_FORMAT)
    affine = np.eye(4)
    affine[:3] = np.diag([-1.0, -1.0, 1.0]) @ np.column_stack([directions[:, 1], directions[:, 0], along, corners[0]])
    grid = Grid(shape=(size[1], size[0], int(places[-1]) + 1), affine=affine)
    view = SliceView(transposed=True, flipped_rows=False, flipped_columns=False)
    return Volume(format="dicom", header=None, shape=grid.shape, grid=grid, axis=2, view=view)


def _numbers(corners: Vectors, directions: Vectors) -> NDArray[np.int64]:
    """Which slices of an even stack they are, from 0 on."""
    normal = np.cross(directions[:, 0], directions[:, 1])
    places = corners @ (normal / np.linalg.norm(normal))
    steps = np.abs(np.diff(places))
    if not steps.min() > 0:
        raise BadInput("slices at one place make no volume", ANOTHER_FORMAT)
    # the rounding of one step must not add up over many: steps that are whole are averaged
    whole = np.maximum(np.rint(steps / steps.min()), 1)
    return np.concatenate([[0], np.cumsum(whole)]).astype(np.int64)
