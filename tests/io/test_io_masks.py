"""Masks of flat images, and the errors that all masks share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.io import image_from_array, write_mask

IMAGE = image_from_array(np.arange(35).reshape(5, 7))
MASK = np.arange(35).reshape(5, 7) % 3 == 0


def test_a_png_mask_is_white_inside_and_black_outside(tmp_path: Path) -> None:
    path = write_mask(IMAGE, MASK, tmp_path / "new" / "mask")
    assert path == tmp_path / "new" / "mask.png"
    with Image.open(path) as written:
        assert written.mode == "L"
        np.testing.assert_array_equal(np.asarray(written), MASK * 255)
        assert not written.info


def test_an_npy_mask_is_zero_and_one(tmp_path: Path) -> None:
    path = write_mask(IMAGE, MASK, tmp_path / "mask", format="npy")
    assert path.name == "mask.npy"
    written = np.load(path, allow_pickle=False)
    assert written.dtype == np.uint8
    np.testing.assert_array_equal(written, MASK)


def test_an_empty_and_a_full_mask_are_written(tmp_path: Path) -> None:
    for value in (False, True):
        path = write_mask(IMAGE, np.full((5, 7), value), tmp_path / str(value))
        with Image.open(path) as written:
            assert written.getextrema() == (255 * value, 255 * value)


def test_dots_in_a_name_stay(tmp_path: Path) -> None:
    assert write_mask(IMAGE, MASK, tmp_path / "v1.2").name == "v1.2.png"


@pytest.mark.parametrize("format", ["nifti", "gif"])
def test_a_format_that_does_not_fit_is_refused_and_nothing_is_written(tmp_path: Path, format: str) -> None:
    with pytest.raises(BadInput):
        write_mask(IMAGE, MASK, tmp_path / "mask", format=format)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not fit"):
        write_mask(IMAGE, MASK.T, tmp_path / "mask")
