"""Finds out whether two grids of voxels are the same place, perhaps stored in another order.

stored i, j, k to the left, back, head    and    to the right, front, head      the same place, two axes turned over
origins that differ by less than half a voxel                                   the same place
rotated by a few degrees, other voxel sizes, a shift of half a voxel or more    other places: not resampled here
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from medclipsam.io.volumes.geometry import Grid

Array = NDArray[Any]


def order_like(grid: Grid, like: Grid) -> Array | None:
    """How the axes of a grid are swapped and turned over to run as those of another: nibabel's (3, 2) orientation.

    None where that cannot be told, as of voxels that are a million times longer than wide.
    """
    try:
        order = np.asarray(io_orientation(np.linalg.inv(like.affine) @ grid.affine))
    except np.linalg.LinAlgError:
        return None
    return order if np.isfinite(order).all() else None


def reordered(grid: Grid, order: Array) -> Grid:
    """The same voxels in another order."""
    shape = np.zeros(3, int)
    shape[order[:, 0].astype(int)] = grid.shape
    affine = grid.affine @ inv_ornt_aff(order, grid.shape)
    return replace(grid, shape=(int(shape[0]), int(shape[1]), int(shape[2])), affine=affine)


def reordered_voxels(voxels: Array, order: Array) -> Array:
    """(a, b, c) voxels in the order of `reordered`."""
    return np.asarray(apply_orientation(voxels, order))


def apart_voxels(one: Grid, other: Grid) -> float:
    """How far apart two grids of one shape hold a voxel at the most, in voxels of the first along any of its axes."""
    corners = _corners(one)
    return float(np.abs(corners @ (np.linalg.inv(one.affine) @ other.affine - np.eye(4)).T).max())


def apart_mm(one: Grid, other: Grid) -> float:
    """How far apart two grids of one shape hold a voxel at the most, in mm."""
    return float(np.linalg.norm(_corners(one) @ (one.affine - other.affine).T, axis=1).max())


def _corners(grid: Grid) -> Array:
    """(8, 4) homogeneous indexes of the voxels at the corners, where places that differ do so the most."""
    return np.array([(*corner, 1) for corner in itertools.product(*((0, side - 1) for side in grid.shape))], float)
