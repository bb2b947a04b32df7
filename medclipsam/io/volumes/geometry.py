"""Says which slices a volume has, how one is shown, and how a mask gets back to the voxels it was drawn on.

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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.source import PLANES, Axis

THROUGH_PLANE_RATIO = 1.2

Array = NDArray[Any]
Affine = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """Where the voxels of a volume lie."""

    shape: tuple[int, int, int]
    """Voxels along each axis, the axis that changes fastest in the file first."""
    affine: Affine
    """(4, 4): voxel indices to mm towards right, front and head (RAS); where not `oriented`, towards L, P and I."""
    oriented: bool = True
    """Whether the file says how the volume lies in the patient."""
    measured: bool = True
    """Whether the file says how large a voxel is; else the steps of `affine` are 1 and mean nothing."""


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


def volume_shape(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The three sides of what is stored with 2 or 3 dimensions, and perhaps more of length 1.

    Raises:
        BadInput: no voxels, or more dimensions than a volume has.
    """
    if len(shape) < 2 or min(shape) < 1:
        raise BadInput(f"{name}: dimensions {shape} hold no image")
    if any(side > 1 for side in shape[3:]):
        raise BadInput(f"{name}: {len(shape)}-D data of shape {shape} are not read", "split them into 3-D volumes")
    return shape[0], shape[1], shape[2] if len(shape) > 2 else 1


def through_axis(grid: Grid, wanted: Axis = None) -> int:
    """The voxel axis (0, 1, 2) that slices are stacked along; see the module's text for the default."""
    world = _world_axes(grid.affine)
    if isinstance(wanted, str):
        return world.index(PLANES.index(wanted))
    if wanted is not None:
        return wanted
    if grid.shape.count(1) == 1:
        return grid.shape.index(1)
    spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
    widest = int(spacing.argmax())
    if spacing[widest] >= THROUGH_PLANE_RATIO * np.delete(spacing, widest).max():
        return widest
    return world.index(PLANES.index("axial"))


def usable_affine(shape: tuple[int, int, int], affine: Affine) -> Grid:
    """The grid of an affine, or one that is not oriented where the affine says nothing that can be used."""
    linear = affine[:3, :3]
    if np.isfinite(affine).all() and (np.linalg.norm(linear, axis=0) > 0).all() and np.linalg.matrix_rank(linear) == 3:
        return Grid(shape=shape, affine=affine)
    return as_stored(shape, None)


def as_stored(shape: tuple[int, int, int], spacing_mm: Sequence[float] | None) -> Grid:
    """The grid of a file that does not say how it lies in the patient: shown as stored.

    Args:
        shape: voxels along each axis.
        spacing_mm: size of a voxel along each axis; None, or numbers that are no sizes, where it is not known.
    """
    known = spacing_mm is not None and all(0 < step < np.inf for step in spacing_mm)
    steps = spacing_mm if spacing_mm is not None and known else (1.0, 1.0, 1.0)
    affine = np.diag([*(-step for step in steps), 1.0])
    return Grid(shape=shape, affine=affine, oriented=False, measured=known)


def _world_axes(affine: Affine) -> list[int]:
    """For each voxel axis the nearest world axis: 0 right, 1 anterior, 2 superior; each once."""
    return [int(axis) for axis in _orientation(affine)[:, 0]]


def _orientation(affine: Affine) -> NDArray[Any]:
    """(3, 2): the nearest world axis of each voxel axis, and its sign."""
    from nibabel.orientations import io_orientation  # noqa: PLC0415  (loads scipy and pydicom; pictures need none)

    return io_orientation(affine)


def shear(affine: Affine) -> float:
    """The largest cosine between two voxel axes: 0 where all are at right angles."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.abs(axes.T @ axes - np.eye(3)).max())


def slice_view(affine: Affine, axis: int) -> tuple[SliceView, int, int]:
    """(how to show a slice, the voxel axis of its rows, that of its columns)."""
    orientation = _orientation(affine)
    first, second = (a for a in range(3) if a != axis)
    transposed = bool(orientation[first, 0] < orientation[second, 0])
    rows, columns = (second, first) if transposed else (first, second)
    view = SliceView(
        transposed=transposed,
        flipped_rows=bool(orientation[rows, 1] > 0),
        flipped_columns=bool(orientation[columns, 1] > 0),
    )
    return view, rows, columns


def in_plane_spacing_mm(grid: Grid, rows: int, columns: int) -> tuple[float, float]:
    """(distance of rows, of columns), where `rows` and `columns` are the voxel axes that `slice_view` names."""
    return step_mm(grid, rows), step_mm(grid, columns)


def normal_step_mm(grid: Grid, axis: int) -> float:
    """How far apart two neighbouring slices along an axis are, at a right angle to them."""
    first, second = (grid.affine[:3, other] for other in range(3) if other != axis)
    return float(abs(np.linalg.det(grid.affine[:3, :3])) / np.linalg.norm(np.cross(first, second)))


def shown_plane_lps(grid: Grid, axis: int, view: SliceView, index: int) -> Affine | None:
    """(3, 3) that takes (row, column, 1) of a slice as shown to mm towards left, back and head; None if unknown."""
    if not grid.oriented:
        return None
    first, second = (other for other in range(3) if other != axis)
    rows, columns = (second, first) if view.transposed else (first, second)
    to_voxel = np.zeros((4, 3))
    to_voxel[3, 2], to_voxel[axis, 2] = 1, index
    for side, flipped, place in ((rows, view.flipped_rows, 0), (columns, view.flipped_columns, 1)):
        to_voxel[side, place] = -1 if flipped else 1
        to_voxel[side, 2] = grid.shape[side] - 1 if flipped else 0
    return np.asarray(np.diag([-1.0, -1.0, 1.0]) @ (grid.affine @ to_voxel)[:3])


def step_mm(grid: Grid, axis: int) -> float:
    """How far apart two neighbouring voxels along an axis are."""
    return float(np.linalg.norm(grid.affine[:3, axis]))
