"""How SAM's mask and the map that prompted it are put together."""

from __future__ import annotations

import numpy as np

from medclipsam.prompting.blending import blended, inside
from medclipsam.types import Box


def test_the_saliency_map_has_the_share_of_the_mask_that_the_preset_says() -> None:
    drawn = np.ones((2, 2), np.float32)
    saliency = np.array([[0.0, 0.2], [0.4, 1.0]], np.float32)
    assert np.allclose(blended(drawn, saliency, 0.0), 1)
    assert np.allclose(blended(drawn, saliency, 0.75), [[0.25, 0.4], [0.55, 1.0]])


def test_a_mask_of_sam_that_is_not_what_the_map_shows_has_no_say() -> None:
    region = np.ones((8, 8), np.float32)
    lines = np.zeros((8, 8), np.float32)
    lines[::3] = 1.0
    assert (blended(region, lines, 0.75, 0.3) > 0.5).tolist() == (lines > 0.5).tolist()
    assert np.allclose(blended(region, lines, 0.75, 0.3), 0.25 + 0.75 * lines), "three rows of eight overlap enough"
    assert blended(region, lines, 0.75, 0.5) is lines
    assert blended(region, lines, 0.0, 0.5) is region, "a person's own box asks SAM alone"


def test_the_saliency_map_counts_inside_the_boxes_alone() -> None:
    saliency = np.ones((3, 5), np.float32)
    kept = inside(saliency, [Box(x0=1, y0=0, x1=2, y1=1), Box(x0=4, y0=2, x1=4, y1=2)])
    assert kept.tolist() == [[0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 1]]
    assert inside(saliency, []) is saliency
