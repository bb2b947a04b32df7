"""Which words name which target, and which words name nothing in an image?

The words themselves are in vocabulary.toml. Every concept has wordings to train with and five that training never sees
(they measure how much wording moves the answer). `ABSENT` lists structures and findings that none of the training
folders labels, with the body parts where they may still be visible: there the answer is unknown and nothing is learned,
everywhere else it is "not found".
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

_WORDS = tomllib.loads(files(__package__).joinpath("vocabulary.toml").read_text("utf-8"))


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A target of the training data and the words for it."""

    target: str
    """Its name in index.csv."""
    wordings: tuple[str, ...]
    held_out: tuple[str, ...]
    """Paraphrases that training never sees."""
    visible_in: frozenset[str]
    """Body parts whose images may show it without a label."""


BODY: Mapping[str, str] = _WORDS["body"]
"""Which part of the body a training folder shows."""
MODALITY_WORDS: Mapping[str, tuple[str, ...]] = {name: tuple(words) for name, words in _WORDS["modality_words"].items()}
TEMPLATES: tuple[str, ...] = tuple(_WORDS["templates"])
CONCEPTS: tuple[Concept, ...] = tuple(
    Concept(
        target=entry["target"],
        wordings=tuple(entry["wordings"]),
        held_out=tuple(entry["held_out"]),
        visible_in=frozenset(entry["visible_in"]),
    )
    for entry in _WORDS["concept"]
)
SHARED_WORDINGS: Mapping[str, frozenset[str]] = {
    word: frozenset(named) for word, named in _WORDS["shared_wordings"].items()
}
"""Words that name more than one target; where a folder labels none of them, nothing is learned."""
ABSENT: Mapping[str, frozenset[str]] = {
    name: frozenset(entry["visible_in"]) for entry in _WORDS["absent"] for name in entry["names"]
}
"""Structures and findings that no folder labels, and the body parts that may show them all the same."""
NONSENSE: tuple[str, ...] = tuple(_WORDS["nonsense"])
"""Texts that name nothing in a medical image; random letters are drawn beside them."""


def concept(target: str) -> Concept:
    """The concept of a target in index.csv.

    Raises:
        KeyError: the target is not in the vocabulary.
    """
    return {known.target: known for known in CONCEPTS}[target]
