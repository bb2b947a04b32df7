"""Gives all slices of a series, or all frames of a film, one contrast where their files leave it open.

    no window in the files        percentiles of up to 32 slices together, as of a NIfTI volume
    a window of its own in each   the median of them: scanners set them slice by slice
    one window                    as it is

Slices stretched one by one show the same tissue in another grey on each, and an empty slice as noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medclipsam.io.window import SAMPLED_PLANES, percentile_range, spread

SAMPLED_VALUES = 2**16
"""About as many of each slice are looked at."""
MEDIAN_WINDOW = "the slices have windows of their own: the median of them is used for all"


class Contrast:
    """What slices or frames have in common.

    Args:
        count: how many there are.
        values: gives those of one by its number, 1-D, see `medclipsam.io.dicom.display.stretched_values`.
        windows: (centre, width) of each; None where one says none.
    """

    def __init__(
        self,
        count: int,
        values: Callable[[int], NDArray[Any]],
        windows: Sequence[tuple[float, float] | None] = (),
    ) -> None:
        self._count, self._values = count, values
        self.stretch = cache(self._percentiles) if count > 1 else None
        """Gives black and white where no window says them; None of a single slice, whose own values are enough."""
        known = [window for window in windows if window is not None]
        each_its_own = len(known) == len(windows) and len(set(known)) > 1
        self.window = _median(known) if each_its_own else None
        """(centre, width) in place of the windows of slices that differ; else None."""

    def of(self, attributes: Dataset) -> Dataset:
        """The attributes of a frame, with the common window where there is one."""
        if self.window is not None:
            attributes.WindowCenter, attributes.WindowWidth = self.window
        return attributes

    def _percentiles(self) -> tuple[float, float]:
        sampled = []
        for number in spread(self._count, SAMPLED_PLANES):
            with suppress(Exception):  # a slice that cannot be decoded says so when its turn comes
                values = self._values(number)
                sampled.append(values[:: max(1, values.size // SAMPLED_VALUES)])
        return percentile_range(np.concatenate(sampled)) if sampled else (0.0, 0.0)


def _median(windows: Sequence[tuple[float, float]]) -> tuple[float, float]:
    centre, width = np.median(windows, axis=0).tolist()
    return centre, width
