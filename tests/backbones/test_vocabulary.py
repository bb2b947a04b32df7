"""Words that were taught are told from words that were not, and from nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.backbones.vocabulary import WORDS, Vocabulary, Word, to_bytes
from medclipsam.errors import BadInput
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.vocabulary import words_of
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
    taught = [word for each in known_targets() for word in corpus.concept(each.target).wordings]
    strange = ["kidney", "prostate", "fetal head", "carotid artery", "thyroid gland", "tibia", "a red sports car"]
    texts = [*taught, *strange]
    vectors = encoder.encode(texts).numpy()
    known = [text for text, vector in zip(texts, vectors, strict=True) if vocabulary.familiar(text, vector).taught]
    assert known == taught


def test_the_file_of_the_package_holds_the_words_of_the_corpus() -> None:
    """`benchmarks/vocabulary.py` writes it anew."""
    held = to_bytes(words_of(Corpus.read()), torch.zeros(len(words_of(Corpus.read())), 384))
    size = int.from_bytes(held[:8], "little")
    assert find("words").file.read_bytes()[8 : 8 + size] == held[8 : 8 + size]
