"""Are masks told from images by the names that data sets give them, and names that only look alike left alone?"""

from __future__ import annotations

import pytest

from medclipsam.io.mask_names import first_mask_of, image_of


@pytest.mark.parametrize(
    ("stem", "image"),
    [
        ("benign (1)_mask", "benign (1)"),
        ("benign (1)_mask_1", "benign (1)"),
        ("case-mask2", "case"),
        ("ISIC_0024306_segmentation", "ISIC_0024306"),
        ("x_Mask", "x"),
        ("21_gt", "21"),
        ("p.label", "p"),
        ("masked", None),
        ("unmask", None),
        ("mask", None),
        ("_mask", None),
        ("x_maskara", None),
        ("x_1", None),
    ],
)
def test_a_stem_tells_the_image_that_it_would_be_a_mask_of(stem: str, image: str | None) -> None:
    assert image_of(stem) == image


def test_a_numbered_mask_tells_the_first() -> None:
    assert first_mask_of("benign (1)_mask_1") == "benign (1)_mask"
    assert first_mask_of("benign (1)_mask") is None
