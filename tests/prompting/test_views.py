"""Views of an image: what they show comes back to its place, and the answers are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest

import medclipsam
from medclipsam.backbones.letterbox import Letterbox
from medclipsam.config import zeroshot_preset
from medclipsam.errors import BadInput
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.prompting.evidence import Cells, Evidence
from medclipsam.prompting.views import MOST, OTHERS, SeveralViews, View, in_views
from medclipsam.types import FloatArray, MedImage

SIDE, CELLS = 256, 64


def spots(height: int, width: int) -> MedImage:
    """Soft spots of different size, away from the corners."""
    grey = np.zeros((height, width), np.float32)
    for down, across, radius in ((0.3, 0.4, 0.08), (0.6, 0.7, 0.05), (0.7, 0.35, 0.03)):
        cv2.circle(grey, (int(across * width), int(down * height)), int(radius * max(height, width)), 1.0, -1)
    soft = cv2.GaussianBlur(grey, (0, 0), 0.02 * max(height, width))
    return MedImage(pixels=np.repeat(np.asarray(soft, np.float32)[..., None], 3, axis=2), name="spots")


def seen(image: MedImage) -> FloatArray:
    """(cells, cells): the mean brightness of each cell of the square that an image enters."""
    square = Letterbox(size=image.size, side=SIDE).fill(image.pixels)[0, 0]
    return cv2.resize(square, (CELLS, CELLS), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("size", [(256, 256), (200, 320), (301, 150), (1500, 1100)])
@pytest.mark.parametrize("view", [View(margin=0.25), View(turn=12), View(turn=-30, margin=0.1)])
def test_what_a_view_shows_comes_back_to_its_place(view: View, size: tuple[int, int]) -> None:
    image = spots(*size)
    back = view.laid_back(seen(view.of(image)), size, SIDE)
    height, width = (int(side / SIDE * CELLS) for side in Letterbox(size=size, side=SIDE).content)
    apart = np.abs(back - seen(image))[:height, :width]
    assert apart.mean() < 0.01
    assert apart.max() < 0.2  # a cell is a sixtieth of the image, and the spots have soft rims


def test_a_darker_view_changes_the_pixels_alone() -> None:
    image = spots(100, 130)
    shown = View(gamma=2).of(image)
    assert np.allclose(shown.pixels, image.pixels**2, atol=1e-6)
    logits = np.random.default_rng(0).normal(size=(CELLS, CELLS)).astype(np.float32)
    assert np.allclose(View(gamma=2).laid_back(logits, image.size, SIDE), logits, atol=1e-4)


class Bright:
    """A source whose logits are the brightness of a cell."""

    def __init__(self) -> None:
        self.prepared: list[MedImage] = []

    def prepare(self, images: Sequence[MedImage]) -> None:
        self.prepared += images

    def look(self, image: MedImage) -> FloatArray:
        return seen(image)

    def cells(self, view: FloatArray, text: str) -> Cells:
        return Cells(logits=view, presence=float(view.max()))

    def drawn(self, image: MedImage, cells: Cells) -> Evidence:
        return Evidence(saliency=cells.logits, presence=cells.presence)

    def weigh(self, image: MedImage, view: FloatArray, text: str, seed: int) -> Evidence:
        return self.drawn(image, self.cells(view, text))


def test_logits_and_presence_are_means_and_the_image_itself_is_one_of_the_views() -> None:
    source, image = Bright(), spots(256, 256)
    several = SeveralViews(source, source.prepare, [View(gamma=2)], SIDE)
    cells = several.cells(several.look(image), "spot")
    darker = seen(View(gamma=2).of(image))
    assert source.prepared[0] is image and len(source.prepared) == 2
    assert np.allclose(cells.logits, (seen(image) + darker) / 2, atol=1e-3)
    assert cells.presence == pytest.approx((seen(image).max() + darker.max()) / 2)


def test_one_view_is_the_source_itself_and_more_than_there_are_is_refused() -> None:
    source = Bright()
    assert in_views(source, 1, source.prepare, SIDE) is source
    for count in (0, MOST + 1):
        with pytest.raises(BadInput, match=f"{count} views"):
            in_views(source, count, source.prepare, SIDE)


@pytest.fixture(scope="module")
def in_two() -> ZeroShotSegmenter:
    return medclipsam.load(replace(zeroshot_preset("embedded"), views=2), device="cpu")


def test_the_preset_answers_from_the_mean_of_its_views(in_two: ZeroShotSegmenter) -> None:
    one = medclipsam.load("embedded", device="cpu", sam=in_two._sam)
    image = spots(120, 90)
    texts = "breast tumor"
    own, smaller = one.weigh(image, texts).cells, one.weigh(OTHERS[0].of(image), texts).cells
    both = in_two.weigh(image, texts).cells
    mean = (own.logits + OTHERS[0].laid_back(smaller.logits, image.size, SIDE)) / 2
    assert np.allclose(both.logits, mean, atol=1e-4)
    assert both.presence == pytest.approx((own.presence + smaller.presence) / 2, abs=1e-5)
    assert in_two.info.preset["views"] == 2


def test_an_answer_in_views_is_as_large_as_its_image(in_two: ZeroShotSegmenter) -> None:
    image = spots(120, 90)
    answer = in_two.segment(image, "breast tumor", always=True)
    assert answer.mask.shape == image.size
    assert in_two.images_at_once(8) == 1


@pytest.mark.parametrize("name", ["embedded", "medclip-samv2"])
def test_maps_that_are_relative_are_refused_before_anything_is_loaded(name: str) -> None:
    config = replace(zeroshot_preset(name), explainer="m2ib", views=2)
    with pytest.raises(BadInput, match="m2ib are relative"):
        medclipsam.load(config, device="cpu")
