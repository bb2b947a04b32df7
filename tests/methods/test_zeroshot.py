"""The embedded preset from image to mask, on drawn images and the real models that every installation has."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import medclipsam
from medclipsam.backbones.sam_loading import load_sam
from medclipsam.config import Coarse, Precision, Prompting, ZeroShot, zeroshot_preset
from medclipsam.errors import BadInput
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.prompting.evidence import Evidence
from medclipsam.runtime import processor_multiplies_bf16
from medclipsam.types import Box, FloatArray, Hints, MedImage, Points
from medclipsam.weights.targets import known_targets

DRAW = """
import numpy as np, medclipsam
rng = np.random.default_rng(0)
pixels = np.clip(rng.normal(0.5, 0.1, (90, 120)), 0, 1).astype(np.float32)
pixels[30:60, 40:80] *= 0.2
"""


def drawn_image(seed: int = 0, size: tuple[int, int] = (90, 120)) -> MedImage:
    pixels = np.clip(np.random.default_rng(seed).normal(0.5, 0.1, size), 0, 1).astype(np.float32)
    pixels[30:60, 40:80] *= 0.2
    return MedImage(pixels=np.repeat(pixels[..., None], 3, axis=2), name=f"drawn-{seed}")


@pytest.fixture(scope="module")
def segmenter() -> ZeroShotSegmenter:
    return medclipsam.load("embedded", device="cpu")


def test_a_box_of_ones_own_gives_a_mask_inside_it(segmenter: ZeroShotSegmenter) -> None:
    result = segmenter.segment(drawn_image(), "dark rectangle", Hints(boxes=(Box(x0=36, y0=26, x1=84, y1=64),)))
    assert result.found
    assert result.mask[30:60, 40:80].mean() > 0.8
    assert result.mask[:20].mean() < 0.05
    assert result.box == Box(x0=36, y0=26, x1=84, y1=64)


def test_every_array_of_the_answer_has_the_size_of_the_image(segmenter: ZeroShotSegmenter) -> None:
    result = segmenter.segment(drawn_image(), "breast tumor", always=True)
    assert result.mask.shape == result.probability.shape == result.saliency.shape == (90, 120)
    assert result.saliency.min() >= 0 and result.saliency.max() <= 1
    assert 0 <= result.presence <= 1


def test_nothing_found_is_an_empty_mask_and_an_answer(segmenter: ZeroShotSegmenter) -> None:
    strict = ZeroShotSegmenter(
        replace(segmenter.config, presence_threshold=1.0), segmenter._evidence, segmenter._sam, weights={}
    )
    result = strict.segment(drawn_image(), "breast tumor")
    assert not result.found
    assert result.reason == "absent"
    assert not result.mask.any()
    assert result.box is None


def by_sam_alone(config: ZeroShot) -> ZeroShot:
    coarse, prompting = Coarse(method="threshold"), Prompting()
    return replace(config, coarse=coarse, prompting=prompting, saliency_share=0.0, presence_threshold=None)


@pytest.mark.parametrize("always", [False, True])
def test_a_map_that_marks_no_region_is_the_reason_for_an_empty_mask(segmenter: ZeroShotSegmenter, always: bool) -> None:
    faint = Drawn(np.linspace(0.0, 0.2, 90 * 120, dtype=np.float32).reshape(90, 120))
    asked = ZeroShotSegmenter(by_sam_alone(segmenter.config), faint, segmenter._sam, weights={})
    result = asked.segment(drawn_image(), "breast tumor", always=always)
    assert (result.found, result.reason, result.boxes) == (False, "no_region", ())


def test_an_empty_mask_of_sam_is_the_reason_and_the_box_that_it_was_asked_with_is_told() -> None:
    blind = load_sam("lite-medsam")
    for head in blind.network.mask_decoder.output_hypernetworks_mlps:
        for parameter in head.layers[-1].parameters():
            parameter.zero_()  # every logit is 0, which is no object
    saliency = np.zeros((90, 120), np.float32)
    saliency[30:60, 40:80] = 0.56
    segmenter = medclipsam.load("embedded", device="cpu", sam=blind)
    asked = ZeroShotSegmenter(by_sam_alone(segmenter.config), Drawn(saliency), blind, weights={})
    result = asked.segment(drawn_image(), "breast tumor")
    assert (result.found, result.reason, result.box) == (False, "sam_empty", Box(x0=40, y0=30, x1=80, y1=60))


def test_a_mask_that_is_there_has_no_reason_to_be_empty(segmenter: ZeroShotSegmenter) -> None:
    found = segmenter.segment(drawn_image(), "dark rectangle", Hints(boxes=(Box(x0=36, y0=26, x1=84, y1=64),)))
    assert (found.found, found.reason) == (True, None)
    with pytest.raises(ValueError, match="has no reason"):
        replace(found, reason="sam_empty")


def test_always_segments_what_the_gate_would_refuse(segmenter: ZeroShotSegmenter) -> None:
    strict = ZeroShotSegmenter(
        replace(segmenter.config, presence_threshold=1.0, coarse=replace(segmenter.config.coarse, method="otsu")),
        segmenter._evidence,
        segmenter._sam,
        weights={},
    )
    assert not strict.segment(drawn_image(), "breast tumor").found
    assert strict.segment(drawn_image(), "breast tumor", always=True).boxes


def test_the_order_of_scans_and_prompts_changes_no_bit(segmenter: ZeroShotSegmenter) -> None:
    images, texts = [drawn_image(0), drawn_image(1)], ["breast tumor", "lungs"]
    forwards = {(i, t): segmenter.segment(images[i], t, always=True) for i in (0, 1) for t in texts}
    fresh = medclipsam.load("embedded", device="cpu")
    backwards = {(i, t): fresh.segment(images[i], t, always=True) for i in (1, 0) for t in reversed(texts)}
    for key, result in forwards.items():
        assert np.array_equal(result.probability, backwards[key].probability)
        assert np.array_equal(result.saliency, backwards[key].saliency)
        assert np.array_equal(result.mask, backwards[key].mask)


def test_another_process_gives_the_same_bits(segmenter: ZeroShotSegmenter) -> None:
    code = DRAW + (
        "image = medclipsam.MedImage(pixels=np.repeat(pixels[..., None], 3, axis=2), name='drawn-0')\n"
        "import hashlib, torch\n"
        "torch.set_num_threads({threads})\n"
        "result = medclipsam.load('embedded', device='cpu').segment(image, 'breast tumor', always=True)\n"
        "print(hashlib.sha256(result.probability.tobytes() + result.mask.tobytes()).hexdigest())\n"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code.replace("{threads}", str(torch.get_num_threads()))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[-1]
    here = segmenter.segment(drawn_image(), "breast tumor", always=True)
    assert hashlib.sha256(here.probability.tobytes() + here.mask.tobytes()).hexdigest() == elsewhere


def test_a_box_of_ones_own_asks_sam_alone(segmenter: ZeroShotSegmenter) -> None:
    own = segmenter.segment(drawn_image(), "polyp", Hints(boxes=(Box(x0=36, y0=26, x1=84, y1=64),)))
    assert own.mask[30:60, 40:80].mean() > 0.8


class Drawn:
    """An `EvidenceSource` whose map is drawn."""

    def __init__(self, saliency: FloatArray) -> None:
        self.evidence = Evidence(saliency=saliency, presence=0.5)

    def look(self, image: MedImage) -> None:
        """Nothing to see."""

    def weigh(self, image: MedImage, view: None, text: str, seed: int) -> Evidence:
        return self.evidence


@pytest.mark.parametrize(("components", "kept"), [(1, 600), (2, 1000), (3, 1100)])
def test_as_many_parts_stay_as_the_coarse_mask_has_contours_though_one_box_lies_around_them(
    segmenter: ZeroShotSegmenter, components: int, kept: int
) -> None:
    saliency = np.zeros((90, 120), np.float32)
    saliency[10:40, 10:30], saliency[50:70, 60:80], saliency[20:30, 50:60] = 0.9, 0.8, 0.7
    config = replace(
        segmenter.config,
        coarse=Coarse(method="threshold", components=components),
        prompting=Prompting(as_many_parts_as_prompts=True, margin=2.0),
        saliency_share=1.0,
        presence_threshold=None,
    )
    result = ZeroShotSegmenter(config, Drawn(saliency), segmenter._sam, weights={}).segment(drawn_image(), "parts")
    assert len(result.boxes) == 1
    assert result.area_px == kept


def test_a_second_prompt_does_not_encode_the_image_again(
    segmenter: ZeroShotSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = drawn_image(2)
    segmenter.segment(image, "breast tumor")
    encoded = []
    monkeypatch.setattr(segmenter._sam, "encode", lambda frames: encoded.append(len(frames)))
    segmenter.segment(image, "lungs")
    assert encoded == []


def test_points_are_refused_where_segment_anything_knows_boxes_alone(segmenter: ZeroShotSegmenter) -> None:
    inside = Points(xy=np.array([[50.0, 50.0]], np.float32), labels=np.array([1]))
    with pytest.raises(BadInput, match="boxes alone; give --box"):
        segmenter.segment(drawn_image(), "breast tumor", Hints(points=inside))


def test_a_box_outside_the_image_is_refused(segmenter: ZeroShotSegmenter) -> None:
    outside = Box(x0=500.0, y0=5.0, x1=510.0, y1=15.0)
    with pytest.raises(BadInput, match="outside the image"):
        segmenter.segment(drawn_image(), "breast tumor", Hints(boxes=(outside,)))


def test_several_wordings_of_a_prompt_are_averaged_at_unit_length(segmenter: ZeroShotSegmenter) -> None:
    read, model = segmenter._evidence._read, segmenter._evidence._model
    each = torch.nn.functional.normalize(model.encode_text(["breast tumor", "breast mass"]), dim=-1)
    assert torch.allclose(read("breast tumor | breast mass"), torch.nn.functional.normalize(each.mean(0), dim=0))
    assert torch.equal(read("breast tumor |"), read("breast tumor"))


def test_a_prompt_that_the_text_model_does_not_read_to_its_end_is_noted(segmenter: ZeroShotSegmenter) -> None:
    read, longer = " ".join(["liver"] * 126), " ".join(["mass"] * 130)
    assert segmenter.segment(drawn_image(), read).notes == ()
    (note,) = segmenter.segment(drawn_image(), f"{read} | {longer}").notes
    assert note.startswith('"mass mass')
    assert "longer than the 128 tokens that the text model reads: its last 4 tokens have no say" in note
    assert segmenter.segment(drawn_image(), longer, always=True).notes == (note,)


def test_a_side_that_nobody_knows_is_refused_unless_the_person_points_at_it(segmenter: ZeroShotSegmenter) -> None:
    for text, why in (("left kidney", "does not say which side"), ("lungs | right lung", "cannot tell the side")):
        with pytest.raises(BadInput, match=why):
            segmenter.segment(drawn_image(), text, always=True)
    assert segmenter.segment(drawn_image(), "left lung", Hints(boxes=(Box(x0=36, y0=26, x1=84, y1=64),))).found
    assert segmenter.segment(drawn_image(), "left ventricle").prompt == "left ventricle"


def test_an_empty_prompt_is_refused(segmenter: ZeroShotSegmenter) -> None:
    with pytest.raises(BadInput, match="empty"):
        segmenter.segment(drawn_image(), "   ")


@pytest.mark.parametrize("explainer", ["m2ib", "gradcam"])
def test_the_other_explainers_run_on_the_embedded_model(explainer: str) -> None:
    config = replace(zeroshot_preset("embedded"), explainer=explainer)
    result = medclipsam.load(config, device="cpu").segment(drawn_image(), "breast tumor", always=True)
    assert result.saliency.shape == (90, 120)
    assert result.saliency.max() <= 1


def test_a_constant_image_is_no_error(segmenter: ZeroShotSegmenter) -> None:
    grey = MedImage(pixels=np.full((40, 50, 3), 0.5, np.float32), name="constant")
    assert segmenter.segment(grey, "breast tumor").mask.shape == (40, 50)


def test_the_description_names_preset_and_hashes(segmenter: ZeroShotSegmenter) -> None:
    described = segmenter.info
    assert described.name == "embedded"
    assert all(len(value) == 64 for value in described.weights.values())
    assert described.precision == "fp32"


def test_an_explainer_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(BadInput, match="dense does not work with the CLIP biomedclip; use m2ib or gradcam"):
        medclipsam.load(replace(zeroshot_preset("medclip-samv2"), explainer="dense"), device="cpu")


def test_images_that_were_prepared_together_are_answered_as_alone(segmenter: ZeroShotSegmenter) -> None:
    images = [drawn_image(seed, (70, 60 + 20 * seed)) for seed in (3, 4)]
    alone = medclipsam.load("embedded", device="cpu").segment(images[1], "breast tumor", always=True)
    segmenter.prepare(images)
    together = segmenter.segment(images[1], "breast tumor", always=True)
    assert np.array_equal(together.probability, alone.probability)
    assert (together.presence, together.scores) == (alone.presence, alone.scores)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_number_of_threads_changes_no_bit(precision: Precision) -> None:
    if precision == "bf16" and not processor_multiplies_bf16():
        pytest.skip("this processor has no instructions for bf16")
    before, answers = torch.get_num_threads(), []
    large_enough_to_be_shared = drawn_image(5, (211, 401))
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            segmenter = medclipsam.load("embedded", device="cpu", precision=precision)
            answers.append(segmenter.segment(large_enough_to_be_shared, "breast tumor | mass", always=True))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(answers[0].probability, answers[1].probability)
    assert np.array_equal(answers[0].saliency, answers[1].saliency)
    assert (answers[0].presence, answers[0].scores) == (answers[1].presence, answers[1].scores)


def test_a_structure_that_was_never_taught_is_said_to_be_so_and_not_to_be_absent(segmenter: ZeroShotSegmenter) -> None:
    result = segmenter.segment(drawn_image(), "cochlea")
    assert (result.found, result.reason) == (False, "never_taught")
    told = re.fullmatch(
        r'the model was never taught "cochlea"; the nearest that it knows: (.+), (.+), (.+); --always draws its guess',
        *result.notes,
    )
    assert told and set(told.groups()) <= {each.target for each in known_targets()}
    guess = segmenter.segment(drawn_image(), "cochlea", always=True)
    assert guess.notes[0].endswith("what is drawn is a guess")
    pointed = segmenter.segment(drawn_image(), "cochlea", Hints(boxes=(Box(x0=36, y0=26, x1=84, y1=64),)))
    assert pointed.found
