"""Which slices does a volume have, how is one shown, and how does a mask get back to the voxels it was drawn on?

A slice is shown the radiological way, by flips and at most one transposition, never by resampling: columns run to the
patient's left (or back), rows to the back (or feet), so every shown axis runs towards L, P or I.

    voxel axes of an axial slice (RAS+)          as shown
        j  anterior                                 anterior
        |                                     R  +--------- column
        +---- i  right                           |
                                                row

Slices are stacked along the axis of length 1; else along the one whose spacing is at least 1.2 times the others'
(the through-plane axis); else along the one nearest to head-feet (axial slices).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from medclipsam.io.source import PLANES, Axis

THROUGH_PLANE_RATIO = 1.2
_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class SliceView:
    """How a slice of voxels is turned to be shown; `place` undoes `show`."""

    transposed: bool
    flipped_rows: bool
    flipped_columns: bool

    def show(self, voxels: Array) -> Array:
        """(a, b) voxels in file order -> (height, width)."""
        shown = voxels.T if self.transposed else voxels
        return shown[:: -1 if self.flipped_rows else 1, :: -1 if self.flipped_columns else 1]

    def place(self, shown: Array) -> Array:
        """(height, width) -> (a, b) voxels in file order."""
        voxels = shown[:: -1 if self.flipped_rows else 1, :: -1 if self.flipped_columns else 1]
        return voxels.T if self.transposed else voxels


def through_axis(shape: tuple[int, int, int], affine: NDArray[np.float64], wanted: Axis = None) -> int:
    """The voxel axis (0, 1, 2) that slices are stacked along; see the module's text for the default."""
    world = _world_axes(affine)
    if isinstance(wanted, str):
        return world.index(PLANES.index(wanted))
    if wanted is not None:
        return wanted
    if shape.count(1) == 1:
        return shape.index(1)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    widest = int(spacing.argmax())
    if spacing[widest] >= THROUGH_PLANE_RATIO * np.delete(spacing, widest).max():
        return widest
    return world.index(PLANES.index("axial"))


def usable_affine(header: nib.Nifti1Header) -> tuple[NDArray[np.float64], bool]:
    """(the header's best affine, True), or (identity, False) where it says nothing that can be used."""
    affine = np.asarray(header.get_best_affine(), np.float64)
    linear = affine[:3, :3]
    if np.isfinite(affine).all() and (np.linalg.norm(linear, axis=0) > 0).all() and np.linalg.matrix_rank(linear) == 3:
        return affine, True
    return np.diag([-1.0, -1.0, -1.0, 1.0]), False


def _world_axes(affine: NDArray[np.float64]) -> list[int]:
    """For each voxel axis the nearest world axis: 0 right, 1 anterior, 2 superior; each once."""
    return [int(axis) for axis in io_orientation(affine)[:, 0]]


def slice_view(affine: NDArray[np.float64], axis: int) -> tuple[SliceView, int, int]:
    """(how to show a slice, the voxel axis of its rows, that of its columns)."""
    orientation = io_orientation(affine)
    first, second = (a for a in range(3) if a != axis)
    transposed = bool(orientation[first, 0] < orientation[second, 0])
    rows, columns = (second, first) if transposed else (first, second)
    view = SliceView(
        transposed=transposed,
        flipped_rows=bool(orientation[rows, 1] > 0),
        flipped_columns=bool(orientation[columns, 1] > 0),
    )
    return view, rows, columns


def in_plane_spacing_mm(
    affine: NDArray[np.float64], header: nib.Nifti1Header, rows: int, columns: int
) -> tuple[float, float]:
    """(distance of rows, of columns), where `rows` and `columns` are the voxel axes that `slice_view` names."""
    return step_mm(affine, header, rows), step_mm(affine, header, columns)


def step_mm(affine: NDArray[np.float64], header: nib.Nifti1Header, axis: int) -> float:
    """How far apart two neighbouring voxels along an axis are."""
    return float(np.linalg.norm(affine[:3, axis]) * _MM[header.get_xyzt_units()[0]])
