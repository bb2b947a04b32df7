"""Words that were taught are told from words that were not, and from nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.backbones.vocabulary import USUAL, WORDS, Vocabulary, Word, to_bytes
from medclipsam.errors import BadInput
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.vocabulary import with_other_structures, words_of
from medclipsam.weights import find
from medclipsam.weights.targets import known_targets

LUNG, HEART, CAR = torch.eye(384)[:3]
WORDS_OF_THREE = [
    Word(wording="lung", targets=("lungs",)),
    Word(wording="heart", targets=("heart",)),
    Word(wording="car"),
]


@pytest.fixture
def of_lungs() -> Vocabulary:
    return Vocabulary(WORDS_OF_THREE, torch.stack([LUNG, HEART, CAR]), ["lungs"])


def test_what_is_nearest_to_a_taught_word_is_taught(of_lungs: Vocabulary) -> None:
    assert of_lungs.familiar("lung", LUNG).taught
    assert of_lungs.familiar("lung", LUNG).nearest == ("lungs",)
    assert not of_lungs.familiar("heart", HEART).taught
    assert not of_lungs.familiar("car", CAR).taught


def test_what_is_far_from_everything_was_never_taught(of_lungs: Vocabulary) -> None:
    assert not of_lungs.familiar("qwerty", torch.eye(384)[5] + 0.1 * LUNG).taught


def test_a_sentence_that_holds_a_taught_name_is_taught(of_lungs: Vocabulary) -> None:
    assert of_lungs.familiar("a big dark lung in this red car", CAR).taught
    assert not of_lungs.familiar("a lunge in front of this red car", CAR).taught
    assert not of_lungs.familiar("lung car", CAR).taught


def test_a_vocabulary_comes_back_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / WORDS
    file.write_bytes(to_bytes(WORDS_OF_THREE, torch.stack([LUNG, HEART, CAR])))
    assert Vocabulary.read(file, ["lungs", "heart"]).familiar("heart", HEART).nearest[0] == "heart"
    file.write_bytes(b"no vocabulary")
    with pytest.raises(BadInput, match=r"words\.safetensors is not the vocabulary"):
        Vocabulary.read(file, [])


def test_the_package_knows_its_words_and_says_of_others_that_it_was_never_taught_them() -> None:
    encoder = SentenceEncoder(find("minilm").folder)
    vocabulary = Vocabulary.read(find("words").file, [each.target for each in known_targets()])
    corpus = Corpus.read()
    concepts = [corpus.concept(each.target) for each in known_targets()]
    taught = [word for concept in concepts for word in concept.words]
    strange = ["cochlea", "parotid gland", "cornea", "thyroid gland", "tibia", "uterus", "a red sports car"]
    texts = [*taught, *strange]
    vectors = encoder.encode(texts).numpy()
    known = [text for text, vector in zip(texts, vectors, strict=True) if vocabulary.familiar(text, vector).taught]
    assert known == taught


def test_the_file_of_the_package_holds_the_words_of_the_corpus_and_other_structures() -> None:
    """`benchmarks/vocabulary.py` writes it anew."""
    with safe_open(find("words").file, framework="numpy") as file:
        held = [(wording, tuple(targets)) for wording, targets in json.loads(file.metadata()["words"])]
    own = [(word.wording, word.targets) for word in words_of(Corpus.read())]
    assert held[: len(own)] == own
    others = {wording for wording, targets in held[len(own) :]}
    assert "Popliteal artery" in others
    assert len(others) > 900
    unseen = {wording.casefold() for concept in Corpus.read().concepts for wording in concept.held_out}
    assert not unseen & {wording.casefold() for wording, _ in held}


def test_names_that_dicom_lists_are_added_where_they_are_no_wording_of_a_target() -> None:
    words = [Word(wording="lung", targets=("lungs",)), Word(wording="car")]

    def encode(texts: list[str]) -> torch.Tensor:
        return torch.stack([LUNG if "lung" in text.casefold() else HEART for text in texts])

    found, vectors = with_other_structures(words, encode)
    names = [word.wording for word in found]
    assert names[:2] == ["lung", "car"]
    assert "Popliteal artery" in names
    assert not any("lung" in name.casefold() for name in names[2:])
    assert len(vectors) == len(found)
    assert not any(word.targets for word in found[2:])


def test_many_words_that_are_rather_near_outweigh_one_that_is_a_little_nearer() -> None:
    text, *axes = torch.eye(384)[:7]
    near = [0.7 * text + 0.714 * axis for axis in axes[:3]]
    strange = [0.71 * text + 0.704 * axes[3], *axes[4:6]]
    words = [Word(wording=f"lung {row}", targets=("lungs",)) for row in range(3)]
    others = [Word(wording=f"car {row}") for row in range(3)]
    assert Vocabulary([*words, *others], torch.stack([*near, *strange]), ["lungs"]).familiar("text", text).taught
    few = torch.stack([near[0], *axes[4:6], *strange])
    assert not Vocabulary([*words, *others], few, ["lungs"]).familiar("text", text).taught


def test_a_list_is_not_nearer_for_being_longer() -> None:
    text, *axes = torch.eye(384)[:12]
    words = [Word(wording="lung", targets=("lungs",)), *(Word(wording=f"car {row}") for row in range(10))]
    vectors = [0.75 * text + 0.66 * axes[0], *(0.7 * text + 0.714 * axis for axis in axes[1:11])]
    assert Vocabulary(words, torch.stack(vectors), ["lungs"]).familiar("text", text).taught


def test_a_taught_name_inside_a_longer_one_that_was_not_taught_makes_no_sentence_taught() -> None:
    words = [*WORDS_OF_THREE, Word(wording="iron lung"), Word(wording="dark")]
    vocabulary = Vocabulary(words, torch.stack([LUNG, HEART, CAR, *torch.eye(384)[7:9]]), ["lungs"])
    assert not vocabulary.familiar("where is the iron lung in this picture", CAR).taught
    assert vocabulary.familiar("where is the lung beside the iron lung", CAR).taught
    assert vocabulary.familiar("where is the dark lung in this picture", CAR).taught


def test_usual_wordings_are_the_first_of_each_target_and_those_of_several() -> None:
    words = [Word(wording=f"lung {row}", targets=("lungs",)) for row in range(USUAL + 3)]
    words += [Word(wording="organ", targets=("heart", "lungs")), Word(wording="car")]
    vocabulary = Vocabulary(words, torch.eye(384)[: len(words)], ["lungs"])
    assert vocabulary.usual_wordings == (*(f"lung {row}" for row in range(USUAL)), "organ")


def test_vectors_come_back_from_8_bits_nearly_as_they_were(tmp_path: Path) -> None:
    vectors = torch.nn.functional.normalize(torch.randn(3, 384, generator=torch.Generator().manual_seed(0)), dim=-1)
    file = tmp_path / WORDS
    file.write_bytes(to_bytes(WORDS_OF_THREE, vectors))
    kept = Vocabulary.read(file, ["lungs"])
    whole = Vocabulary(WORDS_OF_THREE, vectors, ["lungs"])
    near = torch.nn.functional.normalize(vectors[0] + vectors[1], dim=0)
    assert abs(kept.lead(kept.nearness(near)) - whole.lead(whole.nearness(near))) < 0.005
    assert kept.judge("text", kept.nearness(near)) == kept.familiar("text", near)


def test_a_word_for_several_targets_is_taught_and_what_only_holds_it_is_not() -> None:
    bone, lunate = torch.eye(384)[4], 0.7 * torch.eye(384)[4] + 0.714 * torch.eye(384)[5]
    words = [Word(wording="bone", targets=("femur", "rib")), Word(wording="rib", targets=("rib",)), Word(wording="car")]
    vocabulary = Vocabulary(words, torch.stack([bone, LUNG, CAR]), ["rib"])
    assert vocabulary.familiar("bone", bone).taught
    assert not vocabulary.familiar("lunate bone", lunate).taught


def test_a_text_names_the_one_target_that_is_clearly_the_nearest() -> None:
    between = 0.75 * LUNG + 0.66 * HEART
    vocabulary = Vocabulary(WORDS_OF_THREE, torch.stack([LUNG, HEART, CAR]), ["lungs", "heart"])
    assert vocabulary.familiar("lung", LUNG).named == "lungs"
    assert vocabulary.familiar("between", between).named is None
    assert vocabulary.familiar("car", CAR).named is None
