"""Turns a NIfTI mask as `segment` shows its scan, so that pictures of it can be laid upon it.

A picture has no orientation. One that a run wrote of a NIfTI scan lies as the scan was shown: rows towards back or
feet, columns towards the left. A reference in NIfTI lies as it is stored; its own header says how it would be shown.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medclipsam.errors import BadInput
from medclipsam.evaluate.masks import LabelFile
from medclipsam.io.source import Axis
from medclipsam.io.volumes.geometry import slice_view, step_mm, through_axis

HOW = "give both as NIfTI, or say how the picture lies: --pictures as-shown (as segment shows a scan) or as-stored"


def as_shown(file: LabelFile, axis: Axis = None) -> LabelFile:
    """The file with its axes as (row, column) or (slice, row, column) of what is shown; it has no grid any more.

    Args:
        file: of a volume's format; others are given back as they are.
        axis: along which slices were stacked, where it was chosen.
    """
    if file.grid is None:
        return file
    through = through_axis(file.grid, axis)
    view, rows, columns = slice_view(file.grid.affine, through)
    slices = np.moveaxis(file.values.T.reshape(file.grid.shape), through, 0)
    shown = np.stack([view.show(voxels) for voxels in slices])
    axes = (rows, columns) if len(shown) == 1 else (through, rows, columns)
    spacing = tuple(step_mm(file.grid, each) for each in axes) if file.grid.measured else None
    return replace(file, values=shown[0] if len(shown) == 1 else shown, spacing_mm=spacing, grid=None)


def is_shown_as_stored(file: LabelFile) -> bool:
    """Whether showing a volume turns nothing over: its axes run to the left, to the back, and then along slices."""
    if file.grid is None:
        return True
    through = through_axis(file.grid)
    view, _, _ = slice_view(file.grid.affine, through)
    return through == 2 and view.transposed and not (view.flipped_rows or view.flipped_columns)


def refuse_unknown(picture: str, volume: str) -> BadInput:
    """The refusal of a picture whose place on a NIfTI mask is not known."""
    return BadInput(f"{picture} has no orientation and {volume} has: how one lies on the other is not known", HOW)
