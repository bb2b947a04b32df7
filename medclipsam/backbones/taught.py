"""Reads the words that the embedded model was taught, of the weights that come with the package."""

from __future__ import annotations

from medclipsam.backbones.vocabulary import Vocabulary
from medclipsam.weights import find
from medclipsam.weights.targets import known_targets


def taught_words() -> Vocabulary:
    """What the package's own weights were taught; of a person's own nobody knows it."""
    return Vocabulary.read(find("words").file, [each.target for each in known_targets()])
