"""Phantoms of known size are measured as geometry says, within the error of a pixel."""

from __future__ import annotations

import measured_phantoms as phantoms
import numpy as np
import pytest

FEW = [
    (phantoms.SHAPES[0], phantoms.PIXELS[0], "every 5 mm", "axial"),
    (phantoms.SHAPES[1], phantoms.PIXELS[1], "2 mm, with a gap of 6", "oblique"),
    (phantoms.SHAPES[2], phantoms.PIXELS[1], "every 5 mm", "oblique"),
]


@pytest.mark.parametrize(("shape", "pixel", "slices", "plane"), FEW, ids=lambda each: str(each)[:20])
def test_a_phantom_has_its_size_within_the_error_of_a_pixel(
    shape: phantoms.Shape, pixel: tuple[float, float], slices: str, plane: str
) -> None:
    misses = phantoms.row(shape, pixel, slices, plane).misses
    assert set(misses) == {"area", "volume", "longest", "perpendicular"}
    assert max(misses.values()) <= 1


def test_a_phantom_measured_with_the_wrong_pixels_misses_more() -> None:
    """The bounds are narrow enough to find a swap of rows and columns, or a step counted as the slice's thickness."""
    row = phantoms.row(*FEW[1])
    found, true, allowed = row.measures["volume"]
    assert abs(found / 2 - true) > allowed  # slices counted as 1 mm thick
    assert row.measures["longest"][0] * np.sqrt(1.5 / 0.4) - row.measures["longest"][1] > row.measures["longest"][2]


@pytest.mark.slow
def test_every_phantom_of_the_table_has_its_size() -> None:
    for row in phantoms.rows():
        assert max(row.misses.values()) <= 1, row
