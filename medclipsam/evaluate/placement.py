"""Lays one volume of labels on another that is the same place, whatever order their voxels are stored in.

    stored i, j, k turned over or swapped       reordered, voxel by voxel
    less than half a voxel apart                as they are: readers and units round
    half a voxel or more, rotated, rescaled     refused: nothing is resampled here
    no orientation in one of the headers        in the order of the files, where voxels are of one size

The last is said in a note, unless neither has an orientation: two such files are of one making.

A header that can be read in several ways (qform against sform) is the same place as another in any of them: that is
how the same voxels come back from another program.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.evaluate.masks import LabelFile, spacing_of
from medclipsam.io.volumes.alignment import apart_mm, apart_voxels, order_like, reordered, reordered_voxels
from medclipsam.io.volumes.geometry import Grid, as_stored, step_mm

AS_STORED = "one of the two files has no orientation: compared in the order in which voxels are stored"
TOO_FAR_VOXELS = 0.5 - 1e-3
"""A thousandth less than half a voxel, since headers keep 32 bits."""


def laid_upon(found: LabelFile, expected: LabelFile) -> LabelFile:
    """What was found with its voxels in the order of what was expected; as it is where one has no place in space.

    Raises:
        BadInput: both have a place, and it is not the same.
    """
    if found.grid is None or expected.grid is None or sorted(found.grid.shape) != sorted(expected.grid.shape):
        return found
    if not (found.grid.oriented and expected.grid.oriented):
        _check_sizes(found.grid, expected.grid)
        return found if found.grid.oriented == expected.grid.oriented else replace(found, note=AS_STORED)
    for here, there in _readings(found, expected):
        order = order_like(here, there)
        if order is None:
            continue
        moved = reordered(here, order)
        if moved.shape == there.shape and apart_voxels(there, moved) < TOO_FAR_VOXELS:
            return _in_order(found, found.grid, order, expected.grid)
    raise _elsewhere(found.grid, expected.grid)


def _readings(found: LabelFile, expected: LabelFile) -> Iterator[tuple[Grid, Grid]]:
    """Ways to read both headers, the usual one of each first."""
    for there in (expected.grid, *expected.read_elsewhere):
        for here in (found.grid, *found.read_elsewhere):
            if here is not None and there is not None:
                yield here, there


def _in_order(found: LabelFile, stored: Grid, order: NDArray[Any], grid: Grid) -> LabelFile:
    voxels = reordered_voxels(found.values.reshape(stored.shape[::-1]).T, order).T
    values = voxels[0] if len(voxels) == 1 else voxels
    return replace(found, values=values, grid=grid, read_elsewhere=(), spacing_mm=spacing_of(grid, values.ndim))


def _check_sizes(here: Grid, there: Grid) -> None:
    """Compare sizes in the order that files are stored in, since one does not say which way its axes run."""
    if here.shape != there.shape or not (here.measured and there.measured):
        return
    one, other = (as_stored(grid.shape, [step_mm(grid, axis) for axis in range(3)]) for grid in (here, there))
    if apart_voxels(other, one) >= TOO_FAR_VOXELS:
        raise BadInput("the two files have voxels of different sizes", "resample one to the other")


def _elsewhere(here: Grid, there: Grid) -> BadInput:
    order = order_like(here, there)
    moved = here if order is None else reordered(here, order)
    known = order is not None and moved.shape == there.shape
    far = f": up to {apart_mm(there, moved):.3g} mm apart" if known else ": their axes differ"
    return BadInput(f"the two files lie in different places{far}", "resample one to the other")
