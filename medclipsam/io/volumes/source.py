"""Cuts a volume into slices, whatever its file format, one slice in memory at a time.

    StoredVolume --limits--> slices along one axis --turned, windowed--> [0, 1]

How slices are chosen and turned is told in `medclipsam.io.volumes.geometry`. Brightness is shared by all slices of a
volume: percentiles of up to 32 planes, without the padding of a CT, unless a window is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.limits import check_finite, check_pixels
from medclipsam.io.source import ReadOptions, picture_name
from medclipsam.io.volumes.geometry import (
    Grid,
    SliceView,
    in_plane_spacing_mm,
    normal_step_mm,
    shown_plane_lps,
    slice_view,
    through_axis,
)
from medclipsam.io.window import (
    AIR_HU,
    MORE_BY_WINDOW,
    NAMED_HU,
    SAMPLED_PLANES,
    as_rgb,
    between,
    edges,
    percentile_range,
    spread,
    without_padding,
)
from medclipsam.types import MedImage

if TYPE_CHECKING:
    from nibabel.arrayproxy import ArrayProxy

BLOCK_BYTES = 2**26
"""Bytes of neighbouring slices that are gathered at once where the file does not store slices one after another."""
CHUNK_BYTES = 2**24
"""Bytes of the file that are read at once meanwhile."""
NO_ORIENTATION = "the header's orientation is not usable: slices are shown as stored, without spacing"
AS_STORED = "the header does not say how the volume lies in the patient: slices are shown as stored"
HOUNSFIELD = f"black is about what air is in Hounsfield units, and the file has no window; {MORE_BY_WINDOW}"

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredVolume:
    """What the reader of a format knows of a file before any voxel is decoded."""

    format: str
    """The format's name in `MedImage.format`, such as `nifti`."""
    kind: str
    """The format as a person calls it."""
    header: Any = field(repr=False)
    """What the writer of a mask in the same format takes its geometry from."""
    shape: tuple[int, ...]
    """As stored, the axis that changes fastest first; 2 or 3 dimensions, and perhaps more of length 1."""
    grid: Grid
    voxels: ArrayProxy = field(repr=False)
    """(a, b, c) voxels in Fortran order, scaled, read where they are asked for."""
    read_elsewhere: tuple[Grid, ...] = ()
    """Where other readers place the same voxels, if the file can be read in several ways."""
    warnings: tuple[str, ...] = ()
    """What a person should know of the file."""
    orientation_told: bool = False
    """Whether the warnings say already what there is to say of a grid that is not oriented."""
    of_labels: str | None = None
    """What the file is, where it says that its voxels are labels and no scan."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Volume:
    """What the writer of a volume's masks needs; shared by all its slices."""

    format: str
    """The format of the source."""
    header: Any = field(repr=False)
    """The source's header, free text included: the writer takes its geometry alone."""
    shape: tuple[int, ...]
    """See `StoredVolume.shape`."""
    grid: Grid
    axis: int
    """The voxel axis that slices are stacked along."""
    view: SliceView


@dataclass(frozen=True, eq=False, kw_only=True)
class VolumeSlice:
    """The origin of a picture that is a slice of a volume file."""

    volume: Volume
    index: int
    """0-based, along the volume's axis."""


class VolumeSource:
    """A volume file, opened but not loaded.

    Raises:
        BadInput: slices that are larger than the limit, or labels.
    """

    unit = "slice"
    corners_lps = None

    def __init__(self, stored: StoredVolume, name: str, options: ReadOptions) -> None:
        if stored.of_labels is not None:
            raise BadInput(f"{name}: is {stored.of_labels}, no scan", "give the scan that it was drawn on")
        self.name, self.kind = name, stored.kind
        self._options, self._voxels = options, stored.voxels
        self._told, self._orientation_told = stored.warnings, stored.orientation_told
        self._grid, self._shape = stored.grid, stored.grid.shape
        self._axis = through_axis(stored.grid, options.axis)
        view, rows, columns = slice_view(stored.grid.affine, self._axis)
        self._volume = Volume(
            format=stored.format,
            header=stored.header,
            shape=stored.shape,
            grid=stored.grid,
            axis=self._axis,
            view=view,
        )
        check_pixels(name, self._shape[rows], self._shape[columns], options.max_pixels)
        self._spacing_mm = in_plane_spacing_mm(stored.grid, rows, columns) if stored.grid.measured else None
        self.count = self._shape[self._axis]
        step = normal_step_mm(stored.grid, self._axis)
        self.places_mm = tuple(step * index for index in range(self.count))
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
            format=self._volume.format,
            spacing_mm=self._spacing_mm,
            origin=self.origin(index),
            warnings=(*self._warnings(), *warned),
            values=np.array(values),
            plane_lps=shown_plane_lps(self._grid, self._axis, self._volume.view, index),
        )

    def origin(self, index: int) -> VolumeSlice:
        """What the writer of a mask needs of one slice."""
        return VolumeSlice(volume=self._volume, index=index)

    def _warnings(self) -> Iterator[str]:
        if not (self._grid.oriented or self._orientation_told):
            yield AS_STORED if self._grid.measured else NO_ORIENTATION
        yield from self._told
        least, most = AIR_HU
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
        sample = np.concatenate([self._plane(k) for k in spread(self._shape[2], SAMPLED_PLANES)])
        return percentile_range(without_padding(sample))

    def _plane(self, k: int) -> NDArray[np.float32]:
        """Finite values of a plane of the slowest axis, thinned to some 65,536."""
        step = max(1, int(np.sqrt(self._shape[0] * self._shape[1] / 2**16)))
        values = np.asarray(self._voxels[..., k])[::step, ::step].astype(np.float32).ravel()
        return values[np.isfinite(values)]
