"""What the embedded model is taught: answers, moves, augmentation, and that a small tower learns from them."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import decisions
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medclipsam.backbones.compact import CHANNELS, CompactShape, CompactTower, outlined
from medclipsam.backbones.compact_clip import KnownTexts, load_tower
from medclipsam.backbones.geometry import LITE_MEDSAM
from medclipsam.errors import BadInput
from medclipsam.io import read_image
from medclipsam.io.label_files import read_foreground
from medclipsam.training.data.artifacts import burn_in
from medclipsam.training.data.augment import PLAIN, Strength, augment
from medclipsam.training.data.feature_cache import FeatureCache
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.embedded import encodings as encodings_module
from medclipsam.training.embedded.answers import (
    Answers,
    answers,
    dense_loss,
    move,
    presence_loss,
    random_moves,
)
from medclipsam.training.embedded.axes import Axes
from medclipsam.training.embedded.calibration import calibrate, judge, macro_dice
from medclipsam.training.embedded.corpus import Corpus, Folder
from medclipsam.training.embedded.encodings import Encoded, Encoder, Encodings, encoding_precision
from medclipsam.training.embedded.heads import Rows, fit_presence, joined
from medclipsam.training.embedded.make import _computable, half_white, new_tower
from medclipsam.training.embedded.material import read_images
from medclipsam.training.embedded.task import EmbeddedTask, EncodedImages, Lessons
from medclipsam.training.embedded.texts import WORDINGS_EACH, Text, build_bank
from medclipsam.training.embedded.variants import Variant, with_copies
from medclipsam.training.journal import read_journal
from medclipsam.training.loop import fit
from medclipsam.training.recipes import EmbeddedRecipe

CORPUS = Corpus.read()
CHEST = LabelledImage(image="a", folder="chest_xray_shenzhen", modality="x-ray", targets=("lungs",), masks=("m",))
HEART = LabelledImage(
    image="b",
    folder="cardiac_mri_acdc",
    modality="mri",
    targets=("left ventricle", "right ventricle", "myocardium"),
    masks=("l", "r", "m"),
)


def text(sentence: str, *targets: str, visible: frozenset[str] = frozenset()) -> Text:
    return Text(sentence=sentence, targets=frozenset(targets), visible_in=visible)


def answer(words: Text, image: LabelledImage) -> frozenset[str] | None:
    return words.answer(image, CORPUS.body(image))


def test_an_image_answers_with_the_targets_that_a_sentence_names() -> None:
    assert answer(text("LV", "left ventricle"), HEART) == {"left ventricle"}


def test_a_target_of_another_body_part_is_not_found() -> None:
    assert answer(text("polyp", "polyp"), HEART) == frozenset()


def test_a_structure_that_may_be_there_without_a_label_is_unknown() -> None:
    assert answer(text("lungs", "lungs", visible=CORPUS.concept("lungs").visible_in), HEART) is None


def test_a_word_for_several_targets_is_unknown_where_none_is_labelled() -> None:
    assert answer(text("lesion", "polyp", "skin lesion"), CHEST) is None


def test_nonsense_is_found_nowhere_and_captions_answer_nothing_else() -> None:
    captioned = LabelledImage(image="c", folder="captions_medpix", modality="CT", caption="a mass")
    assert answer(text("qwerty"), captioned) == frozenset()
    assert answer(text("polyp", "polyp"), captioned) is None


def test_of_folders_and_targets_that_the_corpus_does_not_name_nothing_is_assumed() -> None:
    own = LabelledImage(image="d", folder="my_knees", targets=("meniscus",), masks=("m",))
    bank = build_bank(CORPUS, {"meniscus": "", "lungs": "ct"}, np.random.default_rng(0), frozenset())
    meniscus = bank.texts[bank.by_target["meniscus"][0]]
    assert "meniscus" in meniscus.sentence.lower()
    assert answer(meniscus, own) == {"meniscus"}
    assert answer(meniscus, HEART) is None
    assert answer(bank.texts[bank.by_target["lungs"][0]], own) is None
    assert answer(text("qwerty"), own) == frozenset()


def test_held_out_wordings_are_in_no_training_sentence() -> None:
    modalities = {concept.target: "mri" for concept in CORPUS.concepts}
    bank = build_bank(CORPUS, modalities, np.random.default_rng(0), frozenset())
    sentences = {line.sentence.lower() for line in bank.texts}
    for concept in CORPUS.concepts:
        assert len(concept.held_out) == 5
        assert not sentences & {wording.lower() for wording in concept.held_out}


def test_synonyms_are_learned_as_they_are_and_wordings_in_sentences_too() -> None:
    bank = build_bank(CORPUS, {"lungs": "x-ray"}, np.random.default_rng(0), frozenset())
    named = [bank.texts[index] for index in bank.by_target["lungs"]]
    alone = {text.sentence.rstrip(".").lower() for text in named if not text.repeated}
    concept = CORPUS.concept("lungs")
    assert alone == {words.rstrip(".").lower() for words in concept.words}
    assert sum(text.repeated for text in named) == (WORDINGS_EACH - 1) * len(concept.wordings)


def test_sentences_tell_which_side_they_say() -> None:
    modalities = {"left ventricle": "mri", "right ventricle": "mri", "lungs": "x-ray"}
    bank = build_bank(CORPUS, modalities, np.random.default_rng(0), frozenset())
    for target, side in (("left ventricle", 1), ("right ventricle", -1), ("lungs", 0)):
        rows = [row for row in bank.by_target[target] if bank.texts[row].sentence.lower() == target]
        assert rows
        assert (bank.sides[rows] == side).all()


def test_a_synonym_names_one_target_and_nothing_that_is_untaught() -> None:
    synonyms = [words.casefold() for each in CORPUS.concepts for words in (*each.synonyms, *each.held_out)]
    others = {words.casefold() for each in CORPUS.concepts for words in (*each.wordings, each.target)}
    others |= {words.casefold() for words in (*CORPUS.shared_wordings, *CORPUS.untaught, *CORPUS.absent)}
    assert len(synonyms) == len(set(synonyms))
    assert not others & set(synonyms)


def test_wordings_to_choose_by_are_neither_taught_nor_those_that_the_test_measures() -> None:
    modalities = {concept.target: "mri" for concept in CORPUS.concepts}
    bank = build_bank(CORPUS, modalities, np.random.default_rng(0), frozenset())
    taught = {line.sentence.lower() for line in bank.texts}
    for target, wordings in decisions.WORDINGS.items():
        chosen = {wording.lower() for wording in wordings}
        assert len(chosen) == 5
        assert not chosen & (taught | {wording.lower() for wording in CORPUS.concept(target).held_out})


def test_a_target_that_is_left_out_is_named_by_no_sentence() -> None:
    modalities = {concept.target: "mri" for concept in CORPUS.concepts}
    bank = build_bank(CORPUS, modalities, np.random.default_rng(0), frozenset({"polyp"}))
    assert "polyp" not in bank.by_target
    assert not any("polyp" in line.targets for line in bank.texts)


def test_a_right_map_costs_less_than_a_wrong_one() -> None:
    coverage = torch.zeros(1, 128, 128)
    coverage[0, :64] = 1
    known, present = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    truth = Answers(known, present, torch.zeros_like(known), coverage)
    right = torch.full((1, 2, 64, 64), -6.0)
    right[0, 0, :32] = 6
    wrong = right.flip(1)
    none = torch.zeros(1, 128, 128)
    assert dense_loss(right, none, truth) < 0.2 < dense_loss(wrong, none, truth)
    strokes = (outlined(right, none.expand(1, 2, -1, -1)) - outlined(wrong, none.expand(1, 2, -1, -1)))[0, :1]
    assert dense_loss(wrong, strokes, truth) < dense_loss(wrong, none, truth)
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
    geometry = Strength(intensity=0, single_channel=0, artifacts=0)
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


@pytest.mark.parametrize("size", [(129, 512), (512, 129), (43, 512), (3, 512), (256, 256)])
def test_the_plain_copy_has_as_many_pixels_as_the_encoder_sees_in_use(size) -> None:
    """129 of 512 pixels are 64.5 of 256."""
    everywhere = np.ones((1, *size), np.uint8)
    _, (mask,) = augment(np.zeros((*size, 3), np.float32), everywhere, 256, PLAIN, np.random.default_rng(0))
    assert (mask.any(axis=1).sum(), mask.any(axis=0).sum()) == LITE_MEDSAM.place(size).content


def test_what_a_device_covers_is_black_and_belongs_to_no_mask() -> None:
    ramp = np.repeat(np.linspace(0.2, 1, 64, dtype=np.float32)[None, :, None], 64, axis=0).repeat(3, axis=2)
    everywhere = np.ones((1, 64, 64), np.uint8)
    covered = 0
    for seed in range(20):
        framed, (mask,) = augment(ramp, everywhere, 64, replace(PLAIN, artifacts=1), np.random.default_rng(seed))
        assert mask[24:40, 24:40].all()
        assert (framed[mask == 0].max(axis=1) > 0).sum() < 0.2 * mask.size, "only text may stand outside"
        covered += not mask.all()
    assert covered >= 15


def test_burned_in_text_leaves_most_of_the_image_alone() -> None:
    grey = np.full((128, 128, 3), 0.5, np.float32)
    marked = burn_in(grey, np.random.default_rng(1))
    assert 0 < (marked != grey).any(axis=2).mean() < 0.2 and 0 <= marked.min() <= marked.max() <= 1


def test_an_empty_mask_says_nothing_where_not_everything_was_drawn() -> None:
    image = LabelledImage(image="a", folder="broad_edd2020", targets=("polyp",), masks=("m",), missing=("polyp",))
    text = Text(sentence="polyp", targets=frozenset({"polyp"}))
    empty = torch.zeros(1, 128, 128)
    assert not answers([image], [empty], [text], Corpus.read()).known.any()
    complete = replace(image, folder="polyp_kvasir")
    assert answers([complete], [empty], [text], Corpus.read()).missing.all()


def test_copies_follow_the_plan_and_differ() -> None:
    planned = with_copies([CHEST], lambda name: Folder(copies=3.0))
    assert sorted(variant.copy for variant in planned) == [0, 1, 2]
    assert len({variant.generator().integers(1 << 30) for variant in planned}) == 3


def test_another_series_has_the_plain_images_and_no_augmented_copy_in_common() -> None:
    images = [replace(CHEST, image=f"{number}.png") for number in range(40)]
    first, other = ({*with_copies(images, lambda name: Folder(copies=3.0), series)} for series in (0, 1))
    assert {each.copy for each in first & other} == {0}
    assert len(first) == len(other) == 120


@pytest.mark.parametrize("copies", [0.4, 0.7, 1.0, 3.0])
def test_that_an_encoding_is_plain_does_not_tell_what_it_shows(copies: float) -> None:
    shown = [replace(CHEST, image=f"{number}.png") for number in range(600)]
    missing = [replace(each, image=f"m{each.image}", missing=each.targets) for each in shown]
    planned = with_copies([*shown, *missing], lambda name: Folder(copies=copies))
    plain = [
        np.mean([each.copy == 0 for each in planned if bool(each.image.missing) == kind]) for kind in (False, True)
    ]
    assert min(plain) > 0.1 and max(plain) < 2.1 * min(plain)
    assert copies >= 1 or abs(plain[0] - plain[1]) < 0.1


@pytest.mark.parametrize("copies", [1.0, 4.0])
def test_an_early_stop_takes_plain_and_augmented_encodings_of_shown_and_missing_alike(copies: float) -> None:
    shown = [replace(CHEST, image=f"{number}.png") for number in range(600)]
    missing = [replace(each, image=f"m{each.image}", missing=each.targets) for each in shown]
    taken = with_copies([*shown, *missing], lambda name: Folder(copies=copies))[:300]
    for kind in (False, True):
        assert 0.35 < np.mean([each.copy == 0 for each in taken if bool(each.image.missing) == kind]) < 0.65


def test_a_narrow_window_makes_as_much_black_as_a_folder_says() -> None:
    ramp = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None, :, None], 64, axis=0).repeat(3, axis=2)
    tone = Strength(rotation_degrees=0, quarter_turns=0, flip=0, zoom=(1, 1), aspect=1, shift=0, artifacts=0, crush=1)
    black = {
        darkest: max(
            float(
                (augment(ramp, np.zeros((0, 64, 64), np.uint8), 64, each, np.random.default_rng(seed))[0] < 0.02).mean()
            )
            for seed in range(60)
        )
        for darkest in (0.3, 0.8)
        for each in [replace(tone, darkest=darkest)]
    }
    assert black[0.8] > 0.6 > black[0.3] + 0.1


class Colours:
    """In the place of LiteMedSAM: colours mixed into 256 channels, and how often it was asked."""

    asked = 0

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        Colours.asked += 1
        mixed = torch.randn(256, 3, generator=torch.Generator().manual_seed(0))
        return torch.einsum("bchw,dc->bdhw", torch.nn.functional.interpolate(frames, 64) - 0.5, mixed)


@pytest.fixture
def polyps(tmp_path: Path) -> list[LabelledImage]:
    """Two images with a mask each; the third is not there, the mask of the fourth is of another size."""
    from PIL import Image

    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 60, 3), np.uint8)
        if number != 2:
            Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        mask = (pixels[..., 0] > 127).astype(np.uint8) * 255
        Image.fromarray(mask[:30] if number == 3 else mask).save(tmp_path / f"{number}-m.png")
    return [
        LabelledImage(image=f"{n}.png", folder="polyp_kvasir", targets=("polyp",), masks=(f"{n}-m.png",))
        for n in range(4)
    ]


def test_a_folder_whose_turn_comes_early_has_more_of_what_is_taken() -> None:
    images = [replace(CHEST, image=f"{folder}/{number}.png", folder=folder) for folder in "ab" for number in range(200)]
    taken = with_copies(images, lambda name: Folder(turn=0.5 if name == "a" else 1.0))[:150]
    counts = Counter(variant.image.folder for variant in taken)
    assert 1.6 < counts["a"] / counts["b"] < 2.4


def loaded(image: LabelledImage, root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and masks of an image, as they are."""
    masks = np.stack([read_foreground(root / mask) for mask in image.masks])
    return read_image(root / image.image).pixels, masks.astype(np.uint8)


def test_each_image_is_encoded_once_and_what_cannot_be_read_is_told(polyps, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(encodings_module, "load_sam", lambda *_, **__: Colours())
    Colours.asked = 0
    variants = [Variant(image=image) for image in polyps]
    told: list[tuple[str, str]] = []
    for _ in range(2):
        encoder = Encoder(tmp_path, FeatureCache(tmp_path / "features"), CORPUS.folder, torch.device("cpu"))
        axes = encoder.axes(variants[:2])
        found, skipped = encoder.encode(variants, axes)
        told = [(each.row, each.reason) for each in skipped]
    assert Colours.asked == 2 + 2
    assert list(found.images) == polyps[:2]
    assert [row for row, _ in told] == ["2.png", "3.png"]
    assert "size" in told[1][1]
    assert pickle.loads(pickle.dumps(EncodedImages(found)))[0, 1].features.shape == (1, 64, 64, CHANNELS)
    features, pixels, masks = found.read(0)
    assert features.shape == (64, 64, CHANNELS) and features.dtype == torch.int8
    assert pixels.dtype == torch.uint8
    seen, _ = augment(*loaded(polyps[0], tmp_path), 256, PLAIN, np.random.default_rng(0))
    assert np.abs(pixels.numpy() / 255 - seen).max() <= 0.51 / 255
    assert masks.shape == (1, 128, 128)
    assert masks[0, :80].float().mean() > 90 and masks[0, 88:].max() == 0


def toy() -> tuple[Encodings, Lessons]:
    """Bright halves: features tell lungs (top) from nothing, on two kinds of image."""
    torch.manual_seed(0)
    count = 48
    features = torch.randint(-2, 3, (count, 64, 64, CHANNELS), dtype=torch.int8)
    features[:, :32, :, :8] += 40
    images = [replace(CHEST, image=str(i)) for i in range(count)]
    masks = torch.zeros(count, 1, 128, 128, dtype=torch.uint8)
    masks[:, :, :64] = 255
    pixels = torch.randint(100, 110, (256, 256, 3), dtype=torch.uint8)
    bank = build_bank(CORPUS, {"lungs": "x-ray", "polyp": "endoscopy"}, np.random.default_rng(0), frozenset())
    sentences = torch.nn.functional.normalize(torch.randn(len(bank.texts), 384), dim=-1)
    lungs = sentences[bank.by_target["lungs"][0]].clone()
    sentences[list(bank.by_target["lungs"])] = lungs
    polyp = sentences[bank.by_target["polyp"][0]]
    levels = torch.full((CHANNELS,), 0.05)
    encodings = Encodings(images, levels, lambda row: Encoded(features[row], pixels, masks[row]), "toy")
    short = torch.stack([lungs, polyp])
    return encodings, Lessons(CORPUS, bank, sentences, lungs.expand(count, -1), ("lungs", "polyp"), short)


QUICK = EmbeddedRecipe(steps=60, batch_size=8, learning_rate=3e-3, warmup=0.08, ema=0.9)


def small_tower() -> CompactTower:
    torch.manual_seed(0)
    return CompactTower(CompactShape(width=32, blocks=1, heads=4, fine=16, detail=8, embedding=32))


def learn(recipe: EmbeddedRecipe, run: Path, **how) -> CompactTower:
    encodings, lessons = toy()
    task = EmbeddedTask(small_tower(), encodings, encodings.every(12), lessons, recipe)
    fit(task, recipe, run, device="cpu", **how)
    return load_tower(run / "tower.safetensors").eval()


def test_a_small_tower_learns_where_and_whether(tmp_path) -> None:
    tower = learn(QUICK, tmp_path, save_every=60)
    encodings, lessons = toy()
    losses = [entry["dense"] for entry in read_journal(tmp_path / "log.jsonl") if entry["kind"] == "train"]
    assert losses[-1] < 0.5 * losses[0]
    judged = list(judge(tower, encodings, lessons.names, lessons.short, CORPUS))
    assert macro_dice(judged) > 0.9
    fit_presence(tower.presence, judged)
    judged = list(judge(tower, encodings, lessons.names, lessons.short, CORPUS))
    features, pixels, _ = encodings.stacked([0])
    maps, presence = tower.answer(tower.view(features, pixels), KnownTexts(tower).read(lessons.short))
    first = next(case for case in judged if case.present)
    assert torch.allclose(first.logits, maps[0, 0], atol=1e-4) and first.presence == pytest.approx(
        float(presence[0, 0])
    )
    bare = list(judge(tower, encodings, lessons.names, lessons.short, CORPUS, drawn=False))
    assert [(case.presence, case.present, case.logits, case.truth) for case in bare] == [
        (case.presence, case.present, None, None) for case in judged
    ]
    figures = calibrate(tower, judged)
    assert figures["rejected"] > 0.9


def test_a_stopped_run_goes_on_to_the_same_bits_and_is_the_same_each_time(tmp_path) -> None:
    recipe = QUICK.changed(steps=5, batch_size=4)

    def stop(entry) -> None:
        if entry["kind"] == "train" and entry["step"] == 4:
            raise KeyboardInterrupt

    learn(recipe, tmp_path / "whole", save_every=2)
    with pytest.raises(KeyboardInterrupt):
        learn(recipe, tmp_path / "stopped", save_every=2, observer=stop)
    learn(recipe, tmp_path / "stopped", save_every=2, resume=True)
    for name in ("tower.safetensors", "checkpoints/step-00000005/optimizer.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes()


def test_weights_know_each_wording_and_synonym_but_not_the_sentences_around_them() -> None:
    encodings, lessons = toy()
    tower, bank = small_tower(), lessons.bank
    EmbeddedTask(tower, encodings, encodings, lessons, QUICK)
    concepts = [CORPUS.concept(target) for target in bank.by_target]
    words = sum(len(concept.words) for concept in concepts)
    others = len(bank.shared) + len(bank.absent) + len(bank.nonsense)
    assert len(tower.known) == len(tower.named) == words + others
    assert (tower.named >= 0).sum() == words
    assert torch.equal(tower.known[-others:], lessons.sentences[-others:])


@pytest.mark.parametrize(
    ("capabilities", "intel", "gains"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, True, True),
        ({"avx512_bf16": True, "amx_bf16": False}, True, False),
        ({"avx512_bf16": True, "amx_bf16": False}, False, True),
        ({"bf16": True}, False, True),
        ({}, False, False),
    ],
)
def test_a_processor_that_gains_nothing_from_bf16_encodes_and_trains_in_single_precision(
    monkeypatch, capabilities, intel, gains
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr("medclipsam.runtime.is_intel", lambda: intel)
    assert encoding_precision(torch.device("cpu")) == (torch.bfloat16 if gains else torch.float32)
    assert _computable(EmbeddedRecipe(), torch.device("cpu")).precision == ("bf16" if gains else "fp32")


def test_attention_heads_share_the_width() -> None:
    with pytest.raises(BadInput, match="width 130 is no multiple of 8"):
        EmbeddedRecipe(width=130)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch compiles with a C++ compiler")
def test_a_compiled_run_learns_as_the_plain_one(tmp_path) -> None:
    runs = []
    for compiled in (False, True):
        run = tmp_path / str(compiled)
        learn(QUICK.changed(steps=3, batch_size=4, compiled=compiled), run)
        runs.append([entry["dense"] for entry in read_journal(run / "log.jsonl") if entry["kind"] == "train"])
    assert runs[1] == pytest.approx(runs[0], rel=0.02)


def asked(*texts: Text, empty: bool = False) -> Answers:
    """The answers of two images of the toy."""
    encodings, _ = toy()
    masks = [encodings.read(row).masks * (not empty) for row in range(2)]
    return answers(encodings.images[:2], masks, texts, CORPUS)


def test_what_was_searched_for_and_is_not_there_is_missing_and_counts() -> None:
    truth = asked(text("lungs", "lungs"), text("polyp", "polyp"), text("qwerty"), empty=True)
    assert truth.missing.tolist() == [[True, False, False]] * 2
    confident = torch.tensor([[5.0, -5.0, -5.0]] * 2)
    assert presence_loss(confident, truth) > 2 > presence_loss(-confident.abs(), truth)


def test_one_that_is_missing_counts_as_much_as_one_that_is_there() -> None:
    present = torch.tensor([[True] * 9 + [False]])
    truth = Answers(torch.ones_like(present), present, ~present, torch.ones(9, 128, 128))
    one_lost, one_made_up = torch.full((1, 10), 5.0), torch.full((1, 10), 5.0)
    one_lost[0, 0] = one_lost[0, 9] = -5
    assert presence_loss(one_lost, truth).item() == pytest.approx(presence_loss(one_made_up, truth).item(), rel=0.01)


def test_turned_and_rounded_features_are_what_the_tower_makes_of_the_encoding() -> None:
    torch.manual_seed(0)
    encoding = torch.rand(1, 256, 64, 64)
    axes = Axes.fitted([encoding])
    stored = axes.rounded(encoding).float() * axes.levels
    exact = new_tower(axes, torch.randn(8, 384)).reduce(encoding)[0]
    assert (stored - exact).abs().max() <= 0.51 * axes.levels.max()


def test_the_axes_of_a_tower_are_those_that_it_was_made_with() -> None:
    torch.manual_seed(0)
    axes = Axes.fitted([torch.rand(1, 256, 64, 64)])
    found = Axes.of(new_tower(axes, torch.randn(8, 384)))
    for name in ("mean", "matrix", "step"):
        assert torch.allclose(getattr(found, name), getattr(axes, name), rtol=1e-4, atol=1e-6)


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
    truth = Answers(known, present, missing, torch.ones(1, 128, 128))
    logits = torch.full((1, 5, 64, 64), -8.0)
    logits[0, 1] = 8
    seen, elsewhere = logits.clone(), logits.clone()
    seen[0, 0] = elsewhere[0, 2] = 2
    none = torch.zeros(1, 128, 128)
    assert dense_loss(seen, none, truth) > 1.5 * dense_loss(elsewhere, none, truth)


def test_two_wordings_of_a_target_are_partners_and_a_word_for_many_stands_alone() -> None:
    bank, generator = toy()[1].bank, np.random.default_rng(0)
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
    truth = asked(text("lungs", "lungs"), text("polyp", "polyp"), text("qwerty"))
    assert truth.known.all()
    assert truth.present.tolist() == [[True, False, False], [True, False, False]]
    assert truth.coverage.shape == (2, 128, 128)


def test_fewer_encodings_and_validation_images_keep_the_share_of_each_folder(tmp_path) -> None:
    folders = {"polyp_kvasir": 40, "other_polyp_etis": 10}
    rows = ["image,mask,target,split,dataset"]
    for folder, count in folders.items():
        for number in range(2 * count):
            split = "train" if number < count else "val"
            rows.append(f"{folder}/{number}.png,{folder}/{number}-m.png,polyp,{split},{folder}")
    (tmp_path / "index.csv").write_text("\n".join(rows))
    images = read_images(tmp_path, CORPUS, QUICK, validation=5)
    assert Counter(image.folder for image in images["val"]) == dict.fromkeys(folders, 5)
    assert {images["val"][0].image, images["val"][4].image} == {"polyp_kvasir/40.png", "polyp_kvasir/79.png"}
    every = with_copies(images["train"], CORPUS.folder)
    half = Counter(variant.image.folder for variant in every[: len(every) // 2])
    for folder, count in Counter(variant.image.folder for variant in every).items():
        assert abs(half[folder] - count / 2) <= 0.1 * count


def test_rows_read_at_once_are_those_read_one_by_one() -> None:
    rows = Rows(torch.randn(30, 3), torch.arange(30.0))
    keys = [(2, int(row)) for row in torch.randperm(30)]
    for at_once, one_by_one in zip(joined(rows.__getitems__(keys)), joined([rows[key] for key in keys]), strict=True):
        assert torch.equal(at_once, one_by_one)


def test_a_new_tower_has_the_blocks_that_the_recipe_asks_for() -> None:
    axes = Axes(mean=torch.zeros(256), matrix=torch.eye(256, CHANNELS), step=torch.ones(CHANNELS))
    for blocks in (1, 4):
        tower = new_tower(axes, torch.randn(8, 384), width=32, blocks=blocks)
        assert len(tower.blocks) == tower.shape.blocks == blocks
