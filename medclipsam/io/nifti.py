"""How is a NIfTI volume cut into pictures, and how does a mask get back to the very voxels it was drawn on?

A slice is shown the radiological way, by flips and at most one transposition, never by resampling: columns run to the
patient's left (or back), rows to the back (or feet), so every shown axis runs towards L, P or I.

    voxel axes of an axial slice (RAS+)          as shown
        j  anterior                                 anterior
        |                                     R  +--------- column
        +---- i  right                           |
                                                row

Slices are stacked along the axis of length 1; else along the one whose spacing is at least 1.2 times the others'
(the through-plane axis); else along the one nearest to head-feet (axial slices). 4-D files are refused.
Brightness is shared by all slices of a volume: percentiles of up to 32 planes, unless a window is given.
"""

from __future__ import annotations

import gzip
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.limits import DEFLATE_RATIO, check_decoded, check_finite, check_pixels
from medclipsam.io.sniff import is_gzip
from medclipsam.io.source import PLANES, Axis, ReadOptions, picture_name
from medclipsam.io.window import NAMED_HU, as_rgb, between, edges, percentile_range
from medclipsam.types import MedImage

THROUGH_PLANE_RATIO = 1.2
SAMPLED_PLANES = 32
MAX_OFFSET = 2**28
"""Where voxels may start in a file: room for any real header extension."""
NO_ORIENTATION = "the header's orientation is not usable: slices are shown as stored, without spacing"
_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
_HEADERS: dict[bytes, type[nib.Nifti1Header]] = {
    b"n+1\0": nib.Nifti1Header,
    b"ni1\0": nib.nifti1.Nifti1PairHeader,
    b"n+2\0": nib.Nifti2Header,
    b"ni2\0": nib.nifti2.Nifti2PairHeader,
}
_SILENT = logging.Logger("nifti header checks")
_SILENT.addHandler(logging.NullHandler())

Header = nib.Nifti1Header
"""The class that all NIfTI headers of nibabel share."""
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


@dataclass(frozen=True, eq=False, kw_only=True)
class NiftiVolume:
    """What the writer of a volume's masks needs; shared by all its slices."""

    header: Header = field(repr=False)
    """The source's header, free text included: the writer takes its geometry alone."""
    shape: tuple[int, ...]
    """As stored: 2 or 3 dimensions, and perhaps more of length 1."""
    axis: int
    """The voxel axis that slices are stacked along."""
    view: SliceView


@dataclass(frozen=True, eq=False, kw_only=True)
class NiftiSlice:
    """The origin of a picture that was read from NIfTI."""

    volume: NiftiVolume
    index: int
    """0-based, along the volume's axis."""


class NiftiSource:
    """A NIfTI-1 or NIfTI-2 file (.nii, .nii.gz, .hdr with .img), opened but not loaded.

    Raises:
        BadInput: dimensions or values that are no volume, or more than the file can hold.
    """

    kind = "a NIfTI volume"
    unit = "slice"

    def __init__(self, path: Path, name: str, options: ReadOptions) -> None:
        self.name = name
        self._options = options
        header_path, voxels_path = _pair(path)
        self._header = _header(header_path)
        stored = tuple(int(side) for side in self._header.get_data_shape())
        self._shape = _volume_shape(name, stored)
        _check_file(name, self._header, voxels_path)
        self._affine, self._oriented = _affine(self._header)
        self._axis = through_axis(self._shape, self._affine, options.axis)
        view, rows, columns = _view(self._affine, self._axis)
        self._volume = NiftiVolume(header=self._header, shape=stored, axis=self._axis, view=view)
        check_pixels(name, self._shape[rows], self._shape[columns], options.max_pixels)
        self._spacing_mm = _spacing_mm(self._affine, self._header, rows, columns) if self._oriented else None
        self.count = self._shape[self._axis]
        self._voxels = _proxy(voxels_path, self._header, self._shape)
        self._range: tuple[float, float] | None = None

    def image(self, index: int) -> MedImage:
        """One slice; nothing but its own voxels is kept."""
        chosen: list[int | slice] = [slice(None)] * 3
        chosen[self._axis] = index
        values = self._volume.view.show(np.asarray(self._voxels[tuple(chosen)]))
        check_finite(self.name, values)
        pixels, warned = as_rgb(between(values, *self._black_and_white()))
        return MedImage(
            pixels=pixels,
            name=picture_name(self, index),
            format="nifti",
            spacing_mm=self._spacing_mm,
            origin=NiftiSlice(volume=self._volume, index=index),
            warnings=warned if self._oriented else (NO_ORIENTATION, *warned),
        )

    def _black_and_white(self) -> tuple[float, float]:
        if self._range is None:
            self._range = self._window()
        return self._range

    def _window(self) -> tuple[float, float]:
        window = self._options.window
        if isinstance(window, int):
            raise BadInput(f"{self.name}: no windows are stored in this format", "give CENTRE,WIDTH")
        if isinstance(window, tuple):
            return edges(window)
        if window in NAMED_HU:
            return edges(NAMED_HU[window])
        sample = np.concatenate([self._plane(k) for k in _spread(self._shape[2], SAMPLED_PLANES)])
        return percentile_range(sample)

    def _plane(self, k: int) -> NDArray[np.float32]:
        """Finite values of a plane of the slowest axis, thinned to some 65,536."""
        step = max(1, int(np.sqrt(self._shape[0] * self._shape[1] / 2**16)))
        values = np.asarray(self._voxels[..., k])[::step, ::step].astype(np.float32).ravel()
        return values[np.isfinite(values)]


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


def _pair(path: Path) -> tuple[Path, Path]:
    """(file of the header, file of the voxels)."""
    if path.suffix.lower() not in (".hdr", ".img"):
        return path, path
    return path.with_suffix(".hdr"), path.with_suffix(".img")


def _header(path: Path) -> Header:
    """The header alone: extensions are neither read nor kept, and nothing is said of what nibabel mends."""
    with _stream(path) as stream:
        first = stream.read(540)
    kind = _HEADERS.get(first[344:348]) or _HEADERS[first[4:8]]
    header = kind(binaryblock=first[: kind.template_dtype.itemsize], check=False)
    header.check_fix(logger=_SILENT, error_level=logging.CRITICAL)
    return header


def _stream(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if is_gzip(path) else path.open("rb")


def _volume_shape(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) < 2 or min(shape) < 1:
        raise BadInput(f"{name}: dimensions {shape} hold no image")
    if any(side > 1 for side in shape[3:]):
        raise BadInput(f"{name}: {len(shape)}-D data of shape {shape} are not read", "split them into 3-D volumes")
    return shape[0], shape[1], shape[2] if len(shape) > 2 else 1


def _check_file(name: str, header: Header, path: Path) -> None:
    """Compare what the header claims with what the file can hold, before anything is loaded."""
    dtype = header.get_data_dtype()
    if dtype.kind not in "uif":
        raise BadInput(f"{name}: voxels of type {dtype.name} are not read", "save grey values, or colours as PNG")
    if not path.is_file():
        raise BadInput(f"{name}: {path.suffix} beside the header is missing", "keep .hdr and .img together")
    offset = int(header.get_data_offset())
    claimed = offset + int(np.prod(header.get_data_shape(), dtype=object)) * dtype.itemsize
    check_decoded(name, claimed)
    there = path.stat().st_size * (DEFLATE_RATIO if is_gzip(path) else 1)
    if claimed > there or not 0 <= offset <= MAX_OFFSET:
        raise BadInput(f"{name}: the header claims {claimed:,} bytes, the file has at most {there:,}", "it is cut off")


def _proxy(path: Path, header: Header, shape: tuple[int, int, int]) -> ArrayProxy:
    slope, intercept = header.get_slope_inter()
    spec = (
        shape,
        header.get_data_dtype(),
        int(header.get_data_offset()),
        1.0 if slope is None else slope,
        0.0 if intercept is None else intercept,
    )
    return ArrayProxy(path, spec, keep_file_open=is_gzip(path))


def _affine(header: Header) -> tuple[NDArray[np.float64], bool]:
    """(the header's best affine, True), or (identity, False) where it says nothing that can be used."""
    affine = np.asarray(header.get_best_affine(), np.float64)
    linear = affine[:3, :3]
    if np.isfinite(affine).all() and (np.linalg.norm(linear, axis=0) > 0).all() and np.linalg.matrix_rank(linear) == 3:
        return affine, True
    return np.diag([-1.0, -1.0, -1.0, 1.0]), False


def _world_axes(affine: NDArray[np.float64]) -> list[int]:
    """For each voxel axis the nearest world axis: 0 right, 1 anterior, 2 superior; each once."""
    return [int(axis) for axis in io_orientation(affine)[:, 0]]


def _view(affine: NDArray[np.float64], axis: int) -> tuple[SliceView, int, int]:
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


def _spacing_mm(affine: NDArray[np.float64], header: Header, rows: int, columns: int) -> tuple[float, float]:
    sides = np.linalg.norm(affine[:3, :3], axis=0) * _MM[header.get_xyzt_units()[0]]
    return float(sides[rows]), float(sides[columns])


def _spread(count: int, most: int) -> list[int]:
    """At most `most` whole numbers below `count`, evenly spread."""
    return sorted({int(k) for k in np.linspace(0, count - 1, min(count, most)).round()})
