"""Reads the words that an embedded model was taught: the package's own, or a run that says what it learned."""

from __future__ import annotations

from pathlib import Path

from medclipsam.backbones.vocabulary import Vocabulary
from medclipsam.weights import find
from medclipsam.weights.targets import known_targets, targets_beside


def vocabulary_of(weights: Path | None, key: str = "compact") -> Vocabulary | None:
    """What a person's own weights were taught; without them, what those of the package were that `key` names."""
    return words_of_run(weights) if weights else taught_words(key)


def taught_words(key: str = "compact") -> Vocabulary:
    """What weights that come with the package were taught."""
    return Vocabulary.read(find("words").file, [each.target for each in known_targets(key)])


def words_of_run(weights: Path) -> Vocabulary | None:
    """What a person's own weights, a file or the folder of a run, were taught; None where nobody knows it.

    Raises:
        BadInput: the table beside the weights cannot be read.
    """
    targets = targets_beside(weights)
    if targets is None:
        return None
    vocabulary = Vocabulary.read(find("words").file, [each.target for each in targets])
    return vocabulary if vocabulary.has_words_for_all else None
