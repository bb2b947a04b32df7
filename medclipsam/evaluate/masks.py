"""Reads a mask back from a file: foreground is what is above 0, and several labels are never united.

What a file holds is told by `medclipsam.io.label_files`. A file whose foreground has one value (1, or 255, or one
colour) is a mask. One with several is a label map, and whoever asks for its mask says which label.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.label_files import read_label_values
from medclipsam.types import BoolArray

if TYPE_CHECKING:
    from medclipsam.io.volumes.geometry import Grid

LOSSY = (".jpg", ".jpeg")
RASTER = (".png", ".bmp", ".tif", ".tiff", *LOSSY)
VOXELS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh")
MASK_SUFFIXES = (*VOXELS, *RASTER, ".npy")
MOST_TOLD = 8
"""Labels that a refusal names one by one."""
HOW_TO_CHOOSE = "choose one with --label N, or name them all with --labels FILE"
Values = NDArray[Any]


class SeveralLabels(BadInput):
    """A label map where one mask was wanted."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskFile:
    """A mask and what its file says of the space it lies in."""

    mask: BoolArray
    """(height, width), or (slices, height, width)."""
    spacing_mm: tuple[float, ...] | None = None
    """One distance for each axis of the mask; None where the file does not say."""
    grid: Grid | None = None
    """Where the voxels of a volume lie, in the order of the file: the axes of `mask` from the last to the first."""
    read_elsewhere: tuple[Grid, ...] = ()
    """Where other readers place the same voxels, if the file can be read in several ways."""
    note: str = ""
    """What a person should know of how it was laid on the other mask of its case."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelFile:
    """A file of one mask or of several labels, and what it says of the space it lies in."""

    name: str
    values: Values
    """(height, width), or (slices, height, width); what is not above 0 is background. Of a picture with colours the
    colour as one number, 0xRRGGBB."""
    coloured: bool = False
    """Whether values are colours."""
    soft: bool = False
    """Whether many grey values may be soft edges rather than labels."""
    spacing_mm: tuple[float, ...] | None = None
    grid: Grid | None = None
    read_elsewhere: tuple[Grid, ...] = ()
    note: str = ""

    @cached_property
    def labels(self) -> tuple[int, ...]:
        """The values of the foreground, in order; empty for an empty mask."""
        return tuple(int(value) for value in np.unique(self.values[self.values > 0]))

    def mask(self, labels: Collection[int] | None = None) -> MaskFile:
        """The mask of some labels together, empty where there is none of them; of the only label where None.

        Raises:
            SeveralLabels: there are several, and none is chosen.
        """
        if labels is None and len(self.labels) > 1:
            raise self._several()
        inside = self.values > 0 if labels is None else np.isin(self.values, list(labels))
        return MaskFile(
            mask=np.asarray(inside),
            spacing_mm=self.spacing_mm,
            grid=self.grid,
            read_elsewhere=self.read_elsewhere,
            note=self.note,
        )

    def _several(self) -> SeveralLabels:
        first, last, count = self.labels[0], self.labels[-1], len(self.labels)
        if count <= MOST_TOLD:
            told = ", ".join(f"#{label:06x}" if self.coloured else str(label) for label in self.labels)
            return SeveralLabels(f"{self.name} holds several labels: {told}", HOW_TO_CHOOSE)
        if self.soft:
            remedy = f"{HOW_TO_CHOOSE}; take soft edges with --above 127"
            return SeveralLabels(f"{self.name} holds {count} grey values from {first} to {last}, not one mask", remedy)
        return SeveralLabels(f"{self.name} holds {count} labels from {first} to {last}", HOW_TO_CHOOSE)


def mask_suffix(name: str) -> str | None:
    """The ending that a mask file may have, `.nii.gz` and `.seg.nrrd` counted as one; None for other files."""
    return next((suffix for suffix in MASK_SUFFIXES if name.lower().endswith(suffix)), None)


def read_mask(path: Path, above: int | None = None, labels: Collection[int] | None = None) -> MaskFile:
    """Read one mask.

    Args:
        path: the file.
        above: the foreground of pictures are grey values above this, whatever the rules of
            `medclipsam.io.label_files` say.
        labels: the values that are the mask, of a file that holds several.

    Raises:
        SeveralLabels: the file holds several labels, and none is chosen.
        BadInput: see `read_labels`.
    """
    return read_labels(path, above).mask(labels)


def read_labels(path: Path, above: int | None = None) -> LabelFile:
    """Read a mask or a map of labels.

    Raises:
        BadInput: see `medclipsam.io.label_files.read_label_values`.
    """
    found = read_label_values(path, above)
    return LabelFile(
        name=path.name,
        values=found.values,
        coloured=found.coloured,
        soft=found.soft,
        spacing_mm=spacing_of(found.grid, found.values.ndim),
        grid=found.grid,
        read_elsewhere=found.read_elsewhere,
    )


def spacing_of(grid: Grid | None, dimensions: int) -> tuple[float, ...] | None:
    """One distance in mm for each axis of a mask of 2 or 3 dimensions; None where the file does not say."""
    if grid is None or not grid.measured:
        return None
    from medclipsam.io.volumes.geometry import step_mm  # noqa: PLC0415  (for volumes alone)

    return tuple(step_mm(grid, axis) for axis in reversed(range(dimensions)))
