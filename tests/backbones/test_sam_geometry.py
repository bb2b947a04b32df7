"""Do images, prompts and masks meet in the same place of a Segment Anything model's square?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling import ImageEncoderViT, Sam
from segment_anything.utils.transforms import ResizeLongestSide

from medclipsam.backbones.geometry import LITE_MEDSAM, MEDSAM, SEGMENT_ANYTHING, Framing

SMALL = {
    "colour": Framing(side=64, keep_aspect=True, values="colour"),
    "stretch": Framing(side=64, keep_aspect=True, values="stretch"),
    "area": Framing(side=64, keep_aspect=True, values="stretch", resampling="area"),
    "squash": Framing(side=64, keep_aspect=False, values="stretch", resampling="bicubic"),
}
sizes = st.tuples(st.integers(2, 300), st.integers(2, 300))
framings = st.sampled_from(sorted(SMALL)).map(lambda name: SMALL[name])


def meta_sam(side: int) -> Sam:
    """Meta's pre- and post-processing; its networks are not used."""
    encoder = ImageEncoderViT(img_size=side, embed_dim=8, depth=0, num_heads=1)
    return Sam(encoder, torch.nn.Identity(), torch.nn.Identity())


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, 3), np.float32)


@pytest.mark.parametrize(
    ("framing", "size", "content"),
    [
        (SEGMENT_ANYTHING, (600, 800), (768, 1024)),
        (SEGMENT_ANYTHING, (3000, 1999), (1024, 682)),
        (MEDSAM, (600, 800), (1024, 1024)),
        (LITE_MEDSAM, (600, 800), (192, 256)),
        (LITE_MEDSAM, (2000, 2), (256, 1)),
    ],
)
def test_the_longest_side_fills_the_square_or_the_image_is_squashed(
    framing: Framing, size: tuple[int, int], content: tuple[int, int]
) -> None:
    assert framing.place(size).content == content


@given(size=sizes, framing=framings)
@settings(max_examples=60, deadline=None)
def test_pixel_edges_of_the_image_are_pixel_edges_of_the_content(size: tuple[int, int], framing: Framing) -> None:
    place = framing.place(size)
    height, width = place.content
    edges = np.array([[0, 0], [size[1], size[0]]])
    assert place.edges_to_square(edges) == pytest.approx(np.array([[0, 0], [width, height]]), abs=1e-4)
    centres = place.centres_to_square(edges - 0.5)
    assert centres == pytest.approx(np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]), abs=1e-4)


@given(size=sizes, framing=framings, x=st.integers(0, 299), y=st.integers(0, 299))
@settings(max_examples=60, deadline=None)
def test_a_clicked_pixel_lies_in_the_middle_of_the_box_around_it(
    size: tuple[int, int], framing: Framing, x: int, y: int
) -> None:
    place = framing.place(size)
    corners = place.edges_to_square(np.array([[x, y], [x + 1, y + 1]]))
    clicked = place.centres_to_square(np.array([x, y]))
    assert clicked == pytest.approx(corners.mean(axis=0) - 0.5, abs=1e-3)


@pytest.mark.parametrize("size", [(96, 96), (40, 100), (150, 70), (1000, 1300), (2, 7)])
def test_edges_go_where_segment_anything_sends_the_corners_of_boxes(size: tuple[int, int]) -> None:
    corners = np.array([[0.0, 0.0], [size[1] - 1, size[0] - 1], [size[1] / 3, size[0] / 7]])
    expected = ResizeLongestSide(1024).apply_coords(corners, size)
    assert SEGMENT_ANYTHING.place(size).edges_to_square(corners) == pytest.approx(expected, abs=1e-3)


@given(size=sizes, framing=framings)
@settings(max_examples=60, deadline=None)
def test_a_mask_comes_back_to_where_the_prompts_came_from(size: tuple[int, int], framing: Framing) -> None:
    place = framing.place(size)
    column = torch.arange(64.0).expand(1, 1, 64, 64)
    native = place.to_native(torch.cat([column, column.mT])).numpy()
    x, y = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
    there = place.centres_to_square(np.stack([x, y], axis=-1))
    height, width = place.content
    assert np.abs(native[0] - there[..., 0].clip(0, width - 1)).max() < 1e-3
    assert np.abs(native[1] - there[..., 1].clip(0, height - 1)).max() < 1e-3


@given(size=st.tuples(st.integers(80, 300), st.integers(80, 300)), framing=framings)
@settings(max_examples=40, deadline=None)
def test_a_bright_patch_lies_where_a_prompt_for_it_points(size: tuple[int, int], framing: Framing) -> None:
    height, width = size
    pixels = np.zeros((height, width, 3), np.float32)
    rows, columns = slice(height // 3, height // 3 + max(1, height // 4)), slice(width // 4, width // 4 + width // 2)
    pixels[rows, columns] = 1
    content = framing.place(size).content
    frame = framing.fill(pixels)[0, 0, : content[0], : content[1]].numpy()
    weight = frame - frame.min()
    centre = np.array([(columns.start + columns.stop - 1) / 2, (rows.start + rows.stop - 1) / 2])
    found = [np.average(np.arange(weight.shape[1 - axis]), weights=weight.sum(axis)) for axis in (0, 1)]
    assert found == pytest.approx(framing.place(size).centres_to_square(centre), abs=0.3)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_padding_is_zero_and_lies_at_bottom_and_right(name: str) -> None:
    frame = SMALL[name].fill(noise(20, 40) * 0.5 + 0.25)
    assert frame.shape == (1, 3, 64, 64)
    assert (frame[..., :32, :] != 0).float().mean() > 0.99
    assert bool((frame[..., 32:, :] == 0).all()) is SMALL[name].keep_aspect


@pytest.mark.parametrize("name", ["stretch", "area", "squash"])
def test_stretched_values_fill_zero_to_one_whatever_the_window(name: str) -> None:
    frame = SMALL[name].fill(noise(40, 30) * 0.1 + 0.6)
    assert (frame.min().item(), frame.max().item()) == (0, 1)
    assert torch.allclose(frame, SMALL[name].fill(noise(40, 30)), atol=1e-4)


@pytest.mark.parametrize("name", ["stretch", "area", "squash"])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_image_becomes_zeros_and_not_a_division_by_zero(name: str, value: float) -> None:
    assert SMALL[name].fill(np.full((30, 50, 3), value, np.float32)).abs().max() < 1e-4


def test_area_averages_whole_pixels_where_it_shrinks_and_is_smooth_where_it_grows() -> None:
    pixels = noise(128, 128)
    blocks = pixels.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    stretched = (blocks - blocks.min()) / (blocks.max() - blocks.min())
    shrunk = SMALL["area"].fill(pixels)[0].permute(1, 2, 0).numpy()
    assert np.abs(shrunk - stretched).max() < 1e-5
    assert torch.equal(SMALL["area"].fill(noise(20, 30)), SMALL["stretch"].fill(noise(20, 30)))


@pytest.mark.parametrize("size", [(48, 96), (150, 70), (64, 64)])
def test_the_frame_is_the_one_that_meta_makes(size: tuple[int, int]) -> None:
    pixels = noise(*size)
    resized = ResizeLongestSide(64).apply_image((pixels * 255).round().astype(np.uint8))
    expected = meta_sam(64).preprocess(torch.from_numpy(resized).permute(2, 0, 1).float())
    assert (SMALL["colour"].fill(pixels)[0] - expected).abs().max() < 2 / 255 / 0.224


@pytest.mark.parametrize("size", [(48, 96), (150, 70), (64, 64)])
def test_masks_come_back_as_meta_brings_them_back(size: tuple[int, int]) -> None:
    logits = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    place = SMALL["colour"].place(size)
    expected = meta_sam(64).postprocess_masks(logits, place.content, size)
    assert torch.equal(place.to_native(logits), expected[:, 0])
