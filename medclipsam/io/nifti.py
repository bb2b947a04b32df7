"""How is a NIfTI volume cut into pictures? Header first, limits, then one slice at a time.

    header --limits--> slices along one axis --turned, windowed--> [0, 1]

How slices are chosen and turned is told in `medclipsam.io.nifti_geometry`. 4-D files are refused.
Brightness is shared by all slices of a volume: percentiles of up to 32 planes, without the padding of
a CT, unless a window is given.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.limits import DEFLATE_RATIO, check_decoded, check_finite, check_pixels
from medclipsam.io.nifti_geometry import (
    SliceView,
    in_plane_spacing_mm,
    slice_view,
    step_mm,
    through_axis,
    usable_affine,
)
from medclipsam.io.sniff import is_gzip
from medclipsam.io.source import ReadOptions, picture_name
from medclipsam.io.window import MORE_BY_WINDOW, NAMED_HU, as_rgb, between, edges, percentile_range, without_padding
from medclipsam.types import MedImage

SAMPLED_PLANES = 32
BLOCK_BYTES = 2**26
"""Of neighbouring slices that are gathered at once where the file does not store slices one after another."""
CHUNK_BYTES = 2**24
"""Of the file that are read at once meanwhile."""
MAX_OFFSET = 2**28
"""Where voxels may start in a file: room for any real header extension."""
NO_ORIENTATION = "the header's orientation is not usable: slices are shown as stored, without spacing"
HOUNSFIELD = f"black is about what air is in Hounsfield units, and no window was chosen; {MORE_BY_WINDOW}"
_AIR_HU = -1150.0, -850.0
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
        self._affine, self._oriented = usable_affine(self._header)
        self._axis = through_axis(self._shape, self._affine, options.axis)
        view, rows, columns = slice_view(self._affine, self._axis)
        self._volume = NiftiVolume(header=self._header, shape=stored, axis=self._axis, view=view)
        check_pixels(name, self._shape[rows], self._shape[columns], options.max_pixels)
        self._spacing_mm = in_plane_spacing_mm(self._affine, self._header, rows, columns) if self._oriented else None
        self.count = self._shape[self._axis]
        step = step_mm(self._affine, self._header, self._axis)
        self.places_mm = tuple(step * index for index in range(self.count))
        self._voxels = _proxy(voxels_path, self._header, self._shape)
        self._range: tuple[float, float] | None = None
        self._block: tuple[int, Array] = (0, np.empty((0, 0, 0)))

    def image(self, index: int) -> MedImage:
        """One slice; nothing but its own voxels is kept."""
        values = self._volume.view.show(self._slab(index))
        check_finite(self.name, values)
        pixels, warned = as_rgb(between(values, *self._black_and_white()))
        return MedImage(
            pixels=pixels,
            name=picture_name(self, index),
            format="nifti",
            spacing_mm=self._spacing_mm,
            origin=self.origin(index),
            warnings=(*self._warnings(), *warned),
        )

    def origin(self, index: int) -> NiftiSlice:
        """What the writer of a mask needs of one slice."""
        return NiftiSlice(volume=self._volume, index=index)

    def _warnings(self) -> Iterator[str]:
        if not self._oriented:
            yield NO_ORIENTATION
        least, most = _AIR_HU
        if self._options.window is None and least <= self._black_and_white()[0] <= most:
            yield HOUNSFIELD

    def _slab(self, index: int) -> Array:
        """The voxels of one slice. The last axis is the slowest in the file: slices along another come in blocks."""
        if self._axis == 2:
            return np.asarray(self._voxels[..., index])
        start, block = self._block
        if not start <= index < start + len(block):
            self._block = start, block = index, self._read_block(index)
        return block[index - start]

    def _read_block(self, start: int) -> Array:
        """Some slices from `start` on, gathered in one pass over the file; at most `BLOCK_BYTES`."""
        planes = np.asarray(self._voxels[..., :1])
        each = self._shape[2] * planes.nbytes // self.count
        stop = min(self.count, start + max(1, BLOCK_BYTES // max(1, each)))
        block = np.empty((stop - start, self._shape[1 - self._axis], self._shape[2]), planes.dtype)
        step = max(1, CHUNK_BYTES // max(1, planes.nbytes))
        for first in range(0, self._shape[2], step):
            chunk = np.moveaxis(np.asarray(self._voxels[..., first : first + step]), self._axis, 0)
            block[..., first : first + step] = chunk[start:stop]
        return block

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
        return percentile_range(without_padding(sample))

    def _plane(self, k: int) -> NDArray[np.float32]:
        """Finite values of a plane of the slowest axis, thinned to some 65,536."""
        step = max(1, int(np.sqrt(self._shape[0] * self._shape[1] / 2**16)))
        values = np.asarray(self._voxels[..., k])[::step, ::step].astype(np.float32).ravel()
        return values[np.isfinite(values)]


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


def _spread(count: int, most: int) -> list[int]:
    """At most `most` whole numbers below `count`, evenly spread."""
    return sorted({int(k) for k in np.linspace(0, count - 1, min(count, most)).round()})
