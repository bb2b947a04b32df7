"""A stack is settled alike by torch and by an engine, and its masks are the same."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

import medclipsam
from medclipsam.methods.contract import Weighed
from medclipsam.methods.exporting import drawn_picture
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.prompting.growing import cut_pixels
from medclipsam.types import MedImage, Segmentation
from medclipsam.volume.settling import Settling


def slices() -> list[MedImage]:
    """The drawn disc in three slices, each a little brighter."""
    picture = drawn_picture()
    return [replace(picture, pixels=picture.pixels * share, name=f"s{share}") for share in (0.9, 0.95, 1.0)]


def answers(segmenter: ZeroShotSegmenter) -> tuple[list[Weighed], list[Segmentation]]:
    """The settled evidence and the masks, drawn also where the model sees nothing."""
    settling = Settling([0.0, 1.0, 2.0])
    for image in slices():
        settling.add(replace(segmenter.weigh(image, "breast tumor"), doubt=None))
    settling.finish()
    settled = [each for each in map(settling.settled, range(3)) if each]
    return settled, [segmenter.draw(*each) for each in zip(slices(), ["breast tumor"] * 3, settled, strict=True)]


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_an_engine_settles_and_draws_a_stack_as_torch_does() -> None:
    plain, fast = (medclipsam.load("embedded", device="cpu", encoder_engine=kind) for kind in ("torch", "openvino"))
    assert plain.info.weighs_first and fast.info.weighs_first
    (settled, masks), (others, drawn) = answers(plain), answers(fast)
    for one, other in zip(settled, others, strict=True):
        assert np.abs(one.cells.logits - other.cells.logits).max() < 1e-2
        assert one.doubt == other.doubt
    for one, other in zip(masks, drawn, strict=True):
        assert np.abs(one.probability - other.probability).max() < 1e-3
        assert (one.mask == other.mask).mean() > 0.9999
    assert sum(cut_pixels(each.mask, each.boxes) for each in masks) == 0


def test_in_two_steps_a_slice_has_the_answer_of_one_step() -> None:
    segmenter = medclipsam.load("embedded", device="cpu")
    image = drawn_picture()
    for prompt in ("breast tumor", "left lung", "a red sports car"):
        if prompt == "left lung":
            image = replace(image, towards_left=(0.0, 1.0))
        one, other = segmenter.segment(image, prompt), segmenter.draw(image, prompt, segmenter.weigh(image, prompt))
        assert (one.found, one.reason, one.notes, one.boxes) == (other.found, other.reason, other.notes, other.boxes)
        assert np.array_equal(one.probability, other.probability)
        assert np.array_equal(one.mask, other.mask)
