"""Does what CLIP sees at one place come back to the same place of the scan?"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from medclipsam.backbones.geometry import LITE_MEDSAM, SEGMENT_ANYTHING, Anchor, Frame
from medclipsam.config import FitKind
from medclipsam.errors import BadInput

SIDE, GRID = 224, 14
KINDS: tuple[FitKind, ...] = ("squash", "letterbox", "crop")
sizes = st.tuples(st.integers(8, 400), st.integers(8, 400))


def bright_patch(size: tuple[int, int], centre: tuple[float, float], half: tuple[float, float]) -> np.ndarray:
    """A black scan with one white rectangle."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    inside = (abs(rows - centre[0]) <= half[0]) & (abs(columns - centre[1]) <= half[1])
    return np.repeat(inside[..., None], 3, axis=2).astype(np.float32)


def box_of(mask: np.ndarray) -> np.ndarray:
    """(y0, x0, y1, x1) of what is True."""
    rows, columns = np.nonzero(mask)
    return np.array([rows.min(), columns.min(), rows.max(), columns.max()], float)


def seen_box(frame: Frame, pixels: np.ndarray, *, stretch: bool = False) -> np.ndarray:
    """The box of a patch after the way through 14x14 cells and back."""
    cells = F.avg_pool2d(frame.forward(pixels).mean(dim=0)[None, None], SIDE // GRID)[0, 0]
    back = frame.stretched(cells) if stretch else frame.inverse(cells).numpy()
    return box_of(back >= back.max() / 2)


@given(
    size=st.tuples(st.integers(64, 400), st.integers(64, 400)),
    place=st.tuples(st.floats(0.35, 0.65), st.floats(0.35, 0.65)),
    kind=st.sampled_from(("squash", "letterbox")),
    anchor=st.sampled_from(("top-left", "centre")),
)
def test_a_bright_patch_comes_back_within_one_cell_of_where_it_was(
    size: tuple[int, int], place: tuple[float, float], kind: FitKind, anchor: Anchor
) -> None:
    frame = Frame(kind=kind, size=size, side=SIDE, anchor=anchor)
    cell = np.array([axis.length / axis.content * SIDE / GRID for axis in (frame.rows, frame.columns)])
    centre, half = (place[0] * size[0], place[1] * size[1]), (1.5 * cell[0], 1.5 * cell[1])
    pixels = bright_patch(size, centre, half)
    assert (abs(seen_box(frame, pixels) - box_of(pixels[..., 0] > 0)) <= np.tile(cell, 2)).all()


def test_a_crop_puts_an_object_back_in_its_place() -> None:
    frame = Frame(kind="crop", size=(570, 760), side=SIDE)
    pixels = bright_patch((570, 760), (285, 480), (60, 60))
    assert seen_box(frame, pixels) == pytest.approx(box_of(pixels[..., 0] > 0), abs=570 / GRID)


def test_stretching_a_crop_moves_an_object_as_the_released_code_does() -> None:
    frame = Frame(kind="crop", size=(570, 760), side=SIDE)
    box = seen_box(frame, bright_patch((570, 760), (285, 480), (60, 60)), stretch=True)
    middle = (box[1] + box[3]) / 2
    assert middle - 380 == pytest.approx(100 * 760 / 570, abs=10)


@pytest.mark.parametrize("size", [(300, 500), (97, 61), (224, 224)])
def test_a_stretched_map_is_the_one_that_the_released_code_writes(size: tuple[int, int]) -> None:
    cells = torch.from_numpy(np.random.default_rng(0).random((GRID, GRID), np.float32))
    large = F.interpolate(cells[None, None], (SIDE, SIDE), mode="bilinear", align_corners=False)[0, 0].numpy()
    large = (large - large.min()) / (large.max() - large.min())
    expected = cv2.resize(large, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    assert Frame(kind="crop", size=size, side=SIDE).stretched(cells) == pytest.approx(expected, abs=1e-6)


def test_a_stretched_map_without_features_stays_without() -> None:
    assert not Frame(kind="crop", size=(30, 40), side=SIDE).stretched(torch.full((GRID, GRID), 0.4)).any()


def test_what_a_crop_did_not_see_is_zero() -> None:
    frame = Frame(kind="crop", size=(100, 200), side=SIDE)
    heat = frame.inverse(torch.ones(GRID, GRID))
    assert heat[:, :49].max() == 0
    assert heat[:, 151:].max() == 0
    assert heat[:, 51:149].min() == 1


@given(size=sizes, kind=st.sampled_from(KINDS), grid=st.integers(1, 32))
def test_a_map_without_features_comes_back_without_features(size: tuple[int, int], kind: FitKind, grid: int) -> None:
    heat = Frame(kind=kind, size=size, side=SIDE).inverse(torch.full((grid, grid), 0.25))
    assert heat.shape == size
    assert set(heat.unique().tolist()) <= ({0.0, 0.25} if kind == "crop" else {0.25})


@given(size=sizes, kind=st.sampled_from(KINDS))
def test_a_slope_comes_back_as_the_same_slope(size: tuple[int, int], kind: FitKind) -> None:
    frame = Frame(kind=kind, size=size, side=SIDE)
    pixel_of_square = torch.arange(SIDE, dtype=torch.float32)
    heat = frame.inverse(pixel_of_square.expand(SIDE, SIDE))
    axis = frame.columns
    expected = (torch.arange(size[1]) + 0.5) * axis.content / axis.length + axis.offset - 0.5
    seen = (expected >= 0) & (expected <= SIDE - 1)
    assert torch.allclose(heat[size[0] // 2][seen], expected[seen], atol=1e-3)


@given(size=sizes, kind=st.sampled_from(KINDS), anchor=st.sampled_from(("top-left", "centre")))
def test_the_square_holds_values_between_zero_and_one(size: tuple[int, int], kind: FitKind, anchor: Anchor) -> None:
    stripes = np.zeros((*size, 3), np.float32)
    stripes[::3, ::2] = 1
    square = Frame(kind=kind, size=size, side=64, anchor=anchor).forward(stripes)
    assert square.shape == (3, 64, 64)
    assert 0 <= square.min() <= square.max() <= 1


def test_a_letterbox_leaves_black_behind_the_scan() -> None:
    white = np.ones((50, 100, 3), np.float32)
    top = Frame(kind="letterbox", size=(50, 100), side=64).forward(white)
    middle = Frame(kind="letterbox", size=(50, 100), side=64, anchor="centre").forward(white)
    assert top[:, :32].min() == pytest.approx(1)
    assert top[:, 32:].max() == 0
    assert middle[:, 16:48].min() == pytest.approx(1)
    assert middle[:, :16].max() == middle[:, 48:].max() == 0


def test_a_map_keeps_its_leading_axes() -> None:
    heat = Frame(kind="squash", size=(30, 20), side=SIDE).inverse(torch.rand(4, 2, GRID, GRID))
    assert heat.shape == (4, 2, 30, 20)


def test_resizing_agrees_with_pillow_on_eight_bits_as_open_clip_resizes() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (97, 131), np.uint8)
    image = np.repeat(grey[..., None], 3, axis=2)
    expected = np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BICUBIC), np.float32) / 255
    ours = Frame(kind="squash", size=(97, 131), side=64).forward(image / 255).permute(1, 2, 0).numpy()
    assert abs(ours - expected).max() < 3 / 255
    assert abs(ours - expected).mean() < 0.5 / 255


def test_pixels_of_another_size_are_refused() -> None:
    with pytest.raises(BadInput, match="frame"):
        Frame(kind="squash", size=(10, 20), side=64).forward(np.zeros((20, 10, 3), np.float32))


def test_a_scan_that_is_almost_a_line_cannot_be_cropped() -> None:
    with pytest.raises(BadInput, match="too narrow"):
        Frame(kind="crop", size=(2, 1000), side=64)
    assert Frame(kind="letterbox", size=(2, 1000), side=64).forward(np.ones((2, 1000, 3))).sum() > 0


def test_a_letterboxed_map_comes_back_from_where_segment_anything_laid_the_image() -> None:
    """385 of 512 rows end at half a pixel of a square of 256: both round up."""
    for size in ((385, 512), *((rows, 1024) for rows in range(1, 1024))):
        for model in (LITE_MEDSAM, SEGMENT_ANYTHING):
            frame = Frame(kind="letterbox", size=size, side=model.side)
            assert (frame.rows.content, frame.columns.content) == model.place(size).content
    assert LITE_MEDSAM.place((385, 512)).content == (193, 256)
