"""Says where a NIfTI header places its voxels in mm, and warns where other readers place them elsewhere.

The sform counts where its code is not 0, else the qform, and the unit of the header applies. Where both codes are 0 the
voxel sizes are known but not which way the axes run: by the standard's first method, as nibabel does, they are taken to
run to the left (as radiologists look), to the front and to the head.

    qform and sform differ   SimpleITK takes the qform unless the sform's code is 1, others the larger code
    pixdim differs           SimpleITK takes voxel sizes from pixdim and directions from the sform
    shear                    SimpleITK refuses the sform, or takes the qform in silence
    both codes 0             SimpleITK takes the axes to run to the left, back and head
    unit is not mm           nibabel's affine, dcm2niix' and most JavaScript readers keep the plain numbers

Source: NIfTI-1, nifti1.h, "3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medclipsam.io.volumes.alignment import apart_mm, apart_voxels
from medclipsam.io.volumes.geometry import Grid, as_stored, shear, usable_affine

Header = nib.Nifti1Header
Affine = NDArray[np.float64]

MM_BY_CODE = {1: 1000.0, 3: 0.001}
"""Units of NIFTI_UNITS_METER and NIFTI_UNITS_MICRON; all other codes are millimetres, the usual meaning of none."""
NOTICED_VOXELS = 0.1
"""Placements that differ by more are told; quaternions and floats of 32 bits differ by less than a hundredth."""
NOTICED_SHEAR = 3e-4
"""Cosine between two axes from which on SimpleITK 2.5 refuses an sform."""
NO_CODES = (
    "the header gives no orientation (qform_code and sform_code are 0): which side is which is not known, and readers "
    "differ by a flip of the second axis (nibabel takes it to run to the front, SimpleITK to the back)"
)
SHEARED = "the header's sform is sheared: some readers refuse it or take the qform (SimpleITK)"
_SPATIAL_UNIT = 7


@dataclass(frozen=True, eq=False, kw_only=True)
class Placement:
    """Where the voxels of a file lie."""

    grid: Grid
    read_elsewhere: tuple[Grid, ...] = ()
    """Where other readers place the same voxels."""
    warnings: tuple[str, ...] = ()


def placement(header: Header, shape: tuple[int, int, int], sizes: NDArray[Any]) -> Placement:
    """What a header says of the place of its voxels.

    Args:
        header: as read, with what nibabel mends.
        shape: voxels along each axis.
        sizes: `pixdim[1:4]` as stored, before anything was mended.
    """
    unit = MM_BY_CODE.get(int(header["xyzt_units"]) & _SPATIAL_UNIT, 1.0)
    qform, sform = (_usable(shape, affine, unit) for affine in (_qform(header, shape, sizes), _sform(header)))
    grid = sform or qform
    if grid is None:
        return _without_orientation(header, shape, sizes, unit)
    elsewhere = [qform] if qform and sform else []
    elsewhere += [_with_sizes(sform, np.abs(sizes) * unit)] if sform and _has_sizes(shape, sizes) else []
    sheared = (SHEARED,) if sform and shear(sform.affine) > NOTICED_SHEAR else ()
    told = (*_unit_told(header, unit), *_differences(grid, qform, elsewhere), *sheared)
    return Placement(grid=grid, read_elsewhere=tuple(elsewhere), warnings=told)


def _without_orientation(header: Header, shape: tuple[int, int, int], sizes: NDArray[Any], unit: float) -> Placement:
    coded = int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0
    if coded or not _has_sizes(shape, sizes):
        return Placement(grid=as_stored(shape, None))
    affine: Affine = np.array(header.get_base_affine(), np.float64)
    affine[:3] *= unit
    grid = Grid(shape=shape, affine=affine, oriented=False)
    return Placement(grid=grid, warnings=(NO_CODES, *_unit_told(header, unit)))


def _sform(header: Header) -> Affine | None:
    return np.asarray(header.get_sform(), np.float64) if int(header["sform_code"]) > 0 else None


def _qform(header: Header, shape: tuple[int, int, int], sizes: NDArray[Any]) -> Affine | None:
    """None too where the quaternion is none, or no voxel sizes go with it."""
    if int(header["qform_code"]) <= 0 or not _has_sizes(shape, sizes):
        return None
    try:
        return np.asarray(header.get_qform(), np.float64)
    except (HeaderDataError, ValueError):
        return None


def _has_sizes(shape: tuple[int, int, int], sizes: NDArray[Any]) -> bool:
    """Whether voxel sizes are stored for all axes along which there are several voxels."""
    steps = np.abs(sizes[np.array(shape) > 1])
    return bool(np.isfinite(sizes).all() and (steps > 0).all())


def _usable(shape: tuple[int, int, int], affine: Affine | None, unit: float) -> Grid | None:
    if affine is None:
        return None
    affine = affine * np.array([[unit], [unit], [unit], [1.0]])
    grid = usable_affine(shape, affine)
    return grid if grid.oriented else None


def _with_sizes(grid: Grid, sizes_mm: NDArray[Any]) -> Grid:
    """The directions and origin of a grid with other voxel sizes."""
    affine = grid.affine.copy()
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    affine[:3, :3] *= np.where(sizes_mm > 0, sizes_mm, steps) / steps
    return replace(grid, affine=affine)


def _unit_told(header: Header, unit: float) -> tuple[str, ...]:
    if unit == 1:
        return ()
    word = "metres" if unit > 1 else "micrometres"
    return (f"the header measures in {word}: readers that ignore the unit take the numbers for mm (nibabel's affine)",)


def _differences(grid: Grid, qform: Grid | None, elsewhere: list[Grid]) -> Iterator[str]:
    """What differs between an sform and the qform and against pixdim, as far as they are noticed."""
    if qform is not None and elsewhere and apart_voxels(grid, qform) > NOTICED_VOXELS:
        yield (
            f"qform and sform place the volume up to {apart_mm(grid, qform):.3g} mm apart: the sform counts here and in"
            " nibabel, the qform in some other readers (SimpleITK unless the sform's code is 1)"
        )
    here, there = (np.linalg.norm(place.affine[:3, :3], axis=0) for place in (grid, (elsewhere or [grid])[-1]))
    if (np.abs(here - there) * (np.array(grid.shape) - 1) > NOTICED_VOXELS * here).any():
        sizes = [" x ".join(f"{step:.4g}" for step in steps) for steps in (here, there)]
        yield (
            f"a voxel has {sizes[0]} mm by the sform and {sizes[1]} by pixdim: the sform counts here and in nibabel's "
            "affine, pixdim in other readers (SimpleITK)"
        )
