"""What training sees of an image is what the tower will see in use, but for the crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medclipsam.backbones.clip import load_clip
from medclipsam.errors import BadInput
from medclipsam.io import read_image
from medclipsam.training.data.captions import Pair, read_captions
from medclipsam.training.data.pairs import PairData, Preparation, collate, random_crop
from medclipsam.training.recipes import ClipRecipe
from medclipsam.training.tasks.encoders import open_clip_encoder


def tokenize(captions):
    return torch.tensor([[len(caption), 0] for caption in captions])


@pytest.mark.parametrize("fit", ["squash", "letterbox", "crop"])
def test_without_a_crop_training_and_use_prepare_alike(tiny_clip, drawn_captions, fit):
    image = read_image(drawn_captions.parent / "images" / "case05.png")
    pairs = read_captions(drawn_captions).pairs[5:6]
    prepared = open_clip_encoder(tiny_clip, fit=fit).pairs(pairs, ClipRecipe())[0, 0].image
    torch.testing.assert_close(prepared, load_clip(tiny_clip).prepare(image, fit), rtol=0, atol=1e-6)


@given(st.integers(2, 60), st.integers(2, 60), st.floats(0.05, 1), st.integers(0, 10**6))
def test_a_crop_lies_inside_and_has_about_the_area_that_was_asked_for(height, width, smallest, seed):
    place = np.arange(height * width, dtype=np.float32).reshape(height, width, 1).repeat(3, axis=2)
    crop = random_crop(place, smallest, torch.Generator().manual_seed(seed))
    assert 2 <= crop.shape[0] <= height
    assert 2 <= crop.shape[1] <= width
    top, left = divmod(int(crop[0, 0, 0]), width)
    assert np.array_equal(crop, place[top : top + crop.shape[0], left : left + crop.shape[1]])
    slack = crop.shape[0] + crop.shape[1] + 1
    assert crop.shape[0] * crop.shape[1] >= smallest * height * width - slack


def test_crops_differ_between_passes_and_pairs_and_repeat_for_one_key(drawn_captions):
    prepare = Preparation(side=24, mean=(0, 0, 0), std=(1, 1, 1), crop_scale=0.5)
    pairs = [read_captions(drawn_captions).pairs[0]] * 2
    data = PairData(pairs, prepare, tokenize)
    assert torch.equal(data[0, 0].image, data[0, 0].image)
    assert not torch.equal(data[0, 0].image, data[1, 0].image)
    assert not torch.equal(data[0, 0].image, data[0, 1].image)
    assert not torch.equal(data[0, 0].image, PairData(pairs, prepare, tokenize, seed=1)[0, 0].image)


def test_an_image_that_cannot_be_read_is_replaced_by_the_next_and_told(tmp_path, drawn_captions):
    (tmp_path / "broken.png").write_bytes(b"no image")
    good = read_captions(drawn_captions).pairs[0]
    bad = Pair(image=tmp_path / "broken.png", caption="A caption of a broken file", group="x", row="t.csv:9")
    data = PairData([good, bad], Preparation(side=16, mean=(0, 0, 0), std=(1, 1, 1)), tokenize)
    batch = collate([data[0, 0], data[0, 1]])
    assert batch.captions[0] == batch.captions[1]
    assert torch.equal(batch.image[0], batch.image[1])
    assert [skip.row for skip in batch.unreadable] == ["t.csv:9"]


def test_data_without_one_readable_image_is_refused():
    nothing = Pair(image=Path("nowhere.png"), caption="A caption of nothing at all", group="x")
    data = PairData([nothing], Preparation(side=16, mean=(0, 0, 0), std=(1, 1, 1)), tokenize)
    with pytest.raises(BadInput, match="none of the images"):
        data[0, 0]
