"""What the embedded model is taught: answers, moves, augmentation, and that a small tower learns from them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import decisions
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medclipsam.backbones.compact import CHANNELS, CompactShape, CompactTower
from medclipsam.training import vocabulary
from medclipsam.training.augment import PLAIN, Strength, augment
from medclipsam.training.calibration import calibrate, judge, macro_dice
from medclipsam.training.embedded import (
    Answers,
    Cache,
    Material,
    Recipe,
    answers,
    dense_loss,
    fit,
    move,
    presence_loss,
    random_moves,
)
from medclipsam.training.features import Axes, Example, read_shards, with_copies, write_shards
from medclipsam.training.make_embedded import half_white, new_tower
from medclipsam.training.presence import fit_presence
from medclipsam.training.texts import Text, build_bank

CHEST = Example(dataset="chest_xray_shenzhen", modality="x-ray", split="train", image="a", targets=("lungs",))
HEART = Example(
    dataset="cardiac_mri_acdc",
    modality="mri",
    split="train",
    image="b",
    targets=("left ventricle", "right ventricle", "myocardium"),
)


def text(sentence: str, *targets: str, visible: frozenset[str] = frozenset()) -> Text:
    return Text(sentence=sentence, targets=frozenset(targets), visible_in=visible)


def test_an_image_answers_with_the_targets_that_a_sentence_names() -> None:
    assert text("LV", "left ventricle").answer(HEART) == {"left ventricle"}


def test_a_target_of_another_body_part_is_not_found() -> None:
    assert text("polyp", "polyp").answer(HEART) == frozenset()


def test_a_structure_that_may_be_there_without_a_label_is_unknown() -> None:
    assert text("lungs", "lungs", visible=vocabulary.concept("lungs").visible_in).answer(HEART) is None


def test_a_word_for_several_targets_is_unknown_where_none_is_labelled() -> None:
    assert text("lesion", "polyp", "skin lesion").answer(CHEST) is None


def test_nonsense_is_found_nowhere_and_captions_answer_nothing_else() -> None:
    captioned = Example(dataset="captions_medpix", modality="CT", split="train", image="c", caption="a mass")
    assert text("qwerty").answer(captioned) == frozenset()
    assert text("polyp", "polyp").answer(captioned) is None


def test_held_out_wordings_are_in_no_training_sentence() -> None:
    modalities = {concept.target: "mri" for concept in vocabulary.CONCEPTS}
    bank = build_bank(modalities, np.random.default_rng(0), frozenset())
    sentences = {line.sentence.lower() for line in bank.texts}
    for concept in vocabulary.CONCEPTS:
        assert len(concept.held_out) == 5
        assert not sentences & {wording.lower() for wording in concept.held_out}


def test_wordings_to_choose_by_are_neither_taught_nor_those_that_the_test_measures() -> None:
    bank = build_bank({c.target: "mri" for c in vocabulary.CONCEPTS}, np.random.default_rng(0), frozenset())
    taught = {line.sentence.lower() for line in bank.texts}
    for concept in vocabulary.CONCEPTS:
        chosen = {wording.lower() for wording in decisions.WORDINGS[concept.target]}
        assert len(chosen) == 5
        assert not chosen & (taught | {wording.lower() for wording in concept.held_out})


def test_a_target_that_is_left_out_is_named_by_no_sentence() -> None:
    modalities = {concept.target: "mri" for concept in vocabulary.CONCEPTS}
    bank = build_bank(modalities, np.random.default_rng(0), frozenset({"polyp"}))
    assert "polyp" not in bank.by_target
    assert not any("polyp" in line.targets for line in bank.texts)


def test_a_right_map_costs_less_than_a_wrong_one() -> None:
    coverage = torch.zeros(1, 64, 64)
    coverage[0, :32] = 1
    known, present = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    truth = Answers(known, present, torch.zeros_like(known), coverage)
    right = torch.full((1, 2, 64, 64), -6.0)
    right[0, 0, :32] = 6
    wrong = right.flip(1)
    assert dense_loss(right, truth) < 0.2 < dense_loss(wrong, truth)
    assert presence_loss(torch.tensor([[4.0, -4.0]]), truth) < presence_loss(torch.tensor([[-4.0, 4.0]]), truth)


def test_masks_move_with_their_features() -> None:
    torch.manual_seed(0)
    mask = torch.zeros(6, 64, 64, 1)
    mask[:, 20:44, 16:36] = 1
    moves = random_moves(6, share=1.0)
    coarse = torch.nn.functional.avg_pool2d(mask[..., 0], 2)[..., None]
    fine, low = move(mask, moves, "zeros")[..., 0] > 0.5, move(coarse, moves, "zeros")[..., 0]
    up = torch.nn.functional.interpolate(low[:, None], size=64, mode="bilinear")[:, 0] > 0.5
    assert (fine != up).float().mean() < 0.03
    assert not torch.equal(fine, mask[..., 0] > 0.5)


VISIBLE = 16
"""Pixels of the object inside the frame below which its edge is all there is to see."""


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), height=st.integers(40, 120), width=st.integers(40, 120))
def test_an_augmented_mask_stays_on_its_object(seed: int, height: int, width: int) -> None:
    pixels, mask = np.zeros((height, width, 3), np.float32), np.zeros((1, height, width), np.uint8)
    pixels[10:30, 12:34] = 1
    mask[0, 10:30, 12:34] = 1
    geometry = Strength(intensity=0, single_channel=0)
    framed, moved = augment(pixels, mask, 64, geometry, np.random.default_rng(seed))
    assert framed.shape == (64, 64, 3) and moved.shape == (1, 64, 64)
    if moved.sum() >= VISIBLE:
        bright = (framed[..., 0] > 0.5 * framed.max()).astype(np.uint8)
        cell = np.ones((3, 3), np.uint8)
        core = cv2.erode(moved[0], cell, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        assert not (bright & ~cv2.dilate(moved[0], cell) & 1).any(), "bright more than a pixel beyond the mask"
        assert not (core & ~bright & 1).any(), "dark more than a pixel inside the mask"


def test_the_plain_copy_is_the_image_itself() -> None:
    pixels = np.random.default_rng(0).random((64, 48, 3)).astype(np.float32)
    framed, _ = augment(pixels, np.zeros((0, 64, 48), np.uint8), 64, PLAIN, np.random.default_rng(0))
    assert np.abs(framed[:, :48] - (pixels - pixels.min()) / np.ptp(pixels)).max() < 1e-5
    assert not framed[:, 48:].any()


def test_copies_follow_the_plan_and_differ() -> None:
    planned = with_copies([CHEST], {"chest_xray_shenzhen": 3.0})
    assert sorted(example.copy for example in planned) == [0, 1, 2]
    assert len({example.generator().integers(1 << 30) for example in planned}) == 3


def test_shards_come_back_as_they_were_written(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray((pixels[..., 0] > 127).astype(np.uint8) * 255).save(tmp_path / "m.png")
    example = Example(
        dataset="polyp_kvasir", modality="endoscopy", split="train", image="a.png", targets=("polyp",), masks=("m.png",)
    )
    torch.manual_seed(0)
    encoding = torch.randn(1, 256, 64, 64)
    axes = Axes.fitted([encoding])
    list(write_shards(tmp_path, [example], lambda frames: encoding, axes, tmp_path / "shards"))
    ((examples, features, masks),) = read_shards(tmp_path / "shards")
    assert examples == [example]
    assert features.shape == (1, 64, 64, CHANNELS)
    assert np.array_equal(features[0], axes.rounded(encoding))
    assert np.unpackbits(masks[0]).reshape(256, 256)[180:].sum() == 0


def toy_material() -> Material:
    """Bright halves: features tell lungs (top) from nothing, on two kinds of image."""
    torch.manual_seed(0)
    count = 48
    features = torch.randint(-2, 3, (count, 64, 64, CHANNELS), dtype=torch.int8)
    features[:, :32, :, :8] += 40
    examples = [Example(**{**vars(CHEST), "image": str(i)}) for i in range(count)]
    masks = torch.zeros(count, 64, 64, dtype=torch.uint8)
    masks[:, :32] = 255
    bank = build_bank({"lungs": "x-ray", "polyp": "endoscopy"}, np.random.default_rng(0), frozenset())
    sentences = torch.nn.functional.normalize(torch.randn(len(bank.texts), 384), dim=-1)
    lungs = sentences[bank.by_target["lungs"][0]].clone()
    sentences[list(bank.by_target["lungs"])] = lungs
    cache = Cache(examples, features, torch.full((CHANNELS,), 0.05), masks, list(range(count)))
    return Material(cache, bank, sentences, lungs.expand(count, -1))


def test_a_small_tower_learns_where_and_whether() -> None:
    material = toy_material()
    torch.manual_seed(0)
    tower = CompactTower(CompactShape(width=32, blocks=1, heads=4, fine=16, detail=8, embedding=32))
    losses: list[dict[str, float]] = []
    recipe = Recipe(steps=60, batch=8, learning_rate=3e-3, warm_up=5, memory=0.9)
    fit(tower, material, recipe, report=lambda _, values: losses.append(values))
    assert losses[-1]["dense"] < 0.5 * losses[0]["dense"]
    lungs, polyp = (material.sentences[list(material.bank.by_target[name])[:1]] for name in ("lungs", "polyp"))
    judged = list(judge(tower, material.cache, ["lungs", "polyp"], torch.cat([lungs, polyp])))
    assert macro_dice(judged) > 0.9
    fit_presence(tower.presence, judged)
    judged = list(judge(tower, material.cache, ["lungs", "polyp"], torch.cat([lungs, polyp])))
    figures = calibrate(tower, judged)
    assert figures["rejected"] > 0.9


def test_the_same_seed_gives_the_same_tower() -> None:
    material, towers = toy_material(), []
    for _ in range(2):
        torch.manual_seed(0)
        towers.append(CompactTower(CompactShape(width=32, blocks=1, heads=4, fine=16, detail=8, embedding=32)))
        fit(towers[-1], material, Recipe(steps=3, batch=4, warm_up=1), report=lambda *_: None)
    for first, second in zip(*(tower.state_dict().values() for tower in towers), strict=True):
        assert torch.equal(first, second)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch compiles with a C++ compiler")
def test_a_compiled_run_learns_as_the_plain_one() -> None:
    material, runs = toy_material(), []
    for compiled in (False, True):
        torch.manual_seed(0)
        tower = CompactTower(CompactShape(width=32, blocks=1, heads=4, fine=16, detail=8, embedding=32))
        losses: list[float] = []
        recipe = Recipe(steps=3, batch=4, warm_up=1)
        fit(tower, material, recipe, report=lambda _, seen, to=losses: to.append(seen["dense"]), compiled=compiled)
        runs.append(losses)
    assert runs[1] == pytest.approx(runs[0], rel=0.02)


def test_what_was_searched_for_and_is_not_there_is_missing_and_counts_as_much_as_all_others() -> None:
    material = toy_material()
    empty = replace(material.cache, masks=torch.zeros_like(material.cache.masks))
    truth = answers(empty, [0], [text("lungs", "lungs"), text("polyp", "polyp"), text("qwerty")])
    assert truth.missing.tolist() == [[True, False, False]]
    confident = torch.tensor([[5.0, -5.0, -5.0]])
    assert presence_loss(confident, truth) > 2 > presence_loss(-confident.abs(), truth)


def test_turned_and_rounded_features_are_what_the_tower_makes_of_the_encoding() -> None:
    torch.manual_seed(0)
    encoding = torch.rand(1, 256, 64, 64)
    axes = Axes.fitted([encoding])
    stored = torch.from_numpy(axes.rounded(encoding)).float() * axes.step * axes.gain
    exact = new_tower(axes, torch.randn(8, 384)).reduce(encoding)[0]
    assert (stored - exact).abs().max() <= 0.51 * (axes.step * axes.gain).max()


def test_what_tells_two_near_sentences_apart_grows_and_the_mean_size_stays() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(400, 6) * torch.tensor([4.0, 2.0, 1.0, 1.0, 0.5, 0.4])
    turned = (vectors - vectors.mean(dim=0)) @ half_white(vectors)
    variances = turned.var(dim=0, unbiased=False)
    assert torch.isclose(variances.mean(), torch.tensor(1.0), atol=1e-4)
    assert variances.max() / variances.min() < 20  # of 100 before


def test_a_target_that_is_missing_among_its_like_teaches_the_map_as_much_as_all_that_cannot_be_there() -> None:
    known = torch.ones(1, 5, dtype=torch.bool)
    missing = torch.tensor([[True, False, False, False, False]])
    present = torch.tensor([[False, True, False, False, False]])
    truth = Answers(known, present, missing, torch.ones(1, 64, 64))
    logits = torch.full((1, 5, 64, 64), -8.0)
    logits[0, 1] = 8
    seen, elsewhere = logits.clone(), logits.clone()
    seen[0, 0] = elsewhere[0, 2] = 2
    assert dense_loss(seen, truth) > 1.5 * dense_loss(elsewhere, truth)


def test_two_wordings_of_a_target_are_partners_and_a_word_for_many_stands_alone() -> None:
    bank, generator = toy_material().bank, np.random.default_rng(0)
    lungs = set(bank.by_target["lungs"])
    assert {bank.partner(min(lungs), generator) for _ in range(9)} <= lungs
    assert bank.partner(bank.shared[0], generator) == bank.shared[0]


def test_what_shrinks_is_averaged_before_it_is_warped() -> None:
    stripes = np.tile(np.arange(512) % 2, (512, 1)).astype(np.float32)[..., None].repeat(3, axis=2)
    stripes[0, :2] = [[0] * 3, [1] * 3]
    turned = Strength(intensity=0, single_channel=0, zoom=(1, 1), aspect=1, shift=0, flip=0, quarter_turns=0)
    framed, _ = augment(stripes, np.zeros((0, 512, 512), np.uint8), 128, turned, np.random.default_rng(0))
    assert framed[40:88, 40:88].std() < 0.05


def test_the_answers_of_a_batch_are_in_reading_order() -> None:
    material = toy_material()
    truth = answers(material.cache, [0, 1], [text("lungs", "lungs"), text("polyp", "polyp"), text("qwerty")])
    assert truth.known.all()
    assert truth.present.tolist() == [[True, False, False], [True, False, False]]
    assert truth.coverage.shape == (2, 64, 64)
