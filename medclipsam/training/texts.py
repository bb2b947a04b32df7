"""Which sentences does a training step ask, and what is the right answer of each image to each of them?

The answer is a set of targets whose masks count, an empty mask ("not found"), or unknown, where nothing is learned.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from medclipsam.training import vocabulary
from medclipsam.training.features import Example

WORDINGS_EACH = 8
RANDOM_WORDS = 300


@dataclass(frozen=True, kw_only=True)
class Text:
    """One sentence and what it names."""

    sentence: str
    targets: frozenset[str] = frozenset()
    """Targets that the sentence names; empty for absent structures and nonsense."""
    visible_in: frozenset[str] = frozenset()
    """Body parts where the answer is unknown."""

    def answer(self, example: Example) -> frozenset[str] | None:
        """The targets of `example` that this sentence names; the empty set for "not found"; None for unknown."""
        named = self.targets & set(example.targets)
        if named:
            return named
        body = vocabulary.BODY.get(example.dataset)
        if body is None:
            return frozenset() if self.is_nonsense else None
        if len(self.targets) > 1 or body in self.visible_in:
            return None
        return frozenset()

    @property
    def is_nonsense(self) -> bool:
        """Names nothing that any medical image shows."""
        return not self.targets and not self.visible_in


@dataclass(frozen=True)
class TextBank:
    """All sentences of a training run, by what they name."""

    by_target: Mapping[str, tuple[int, ...]]
    shared: tuple[int, ...]
    absent: tuple[int, ...]
    nonsense: tuple[int, ...]
    texts: tuple[Text, ...]

    def partner(self, index: int, generator: np.random.Generator) -> int:
        """Another sentence for the same target; the sentence itself where it names no single target."""
        named = self.texts[index].targets
        group = self.by_target.get(next(iter(named)), ()) if len(named) == 1 else ()
        return int(generator.choice(group)) if group else index

    def draw(self, targets: Iterable[str], generator: np.random.Generator, each: int = 2) -> list[int]:
        """Indices of sentences for one step: `each` for every target in the batch, and some that must not be found."""
        chosen = [
            int(index) for target in sorted(set(targets)) for index in generator.choice(self.by_target[target], each)
        ]
        for group, count in ((self.shared, 2), (self.absent, 7), (self.nonsense, 5)):
            chosen += [int(index) for index in generator.choice(group, count, replace=False)]
        return chosen


def build_bank(modalities: Mapping[str, str], generator: np.random.Generator, leave_out: frozenset[str]) -> TextBank:
    """Write out the vocabulary in sentences.

    Args:
        modalities: target -> modality, as in index.csv.
        leave_out: targets that this run must never hear of.
    """
    texts: list[Text] = []
    by_target: dict[str, tuple[int, ...]] = {}
    for concept in vocabulary.CONCEPTS:
        if concept.target in leave_out or concept.target not in modalities:
            continue
        start = len(texts)
        for wording in concept.wordings:
            texts += _sentences(wording, modalities[concept.target], frozenset({concept.target}), concept, generator)
        by_target[concept.target] = tuple(range(start, len(texts)))
    groups: dict[str, tuple[int, ...]] = {}
    for name, more in (
        ("shared", _shared(leave_out)),
        ("absent", _absent(generator)),
        ("nonsense", _nonsense(generator)),
    ):
        groups[name] = tuple(range(len(texts), len(texts) + len(more)))
        texts += more
    return TextBank(
        by_target=by_target,
        shared=groups["shared"],
        absent=groups["absent"],
        nonsense=groups["nonsense"],
        texts=tuple(texts),
    )


def _sentences(
    wording: str,
    modality: str,
    targets: frozenset[str],
    concept: vocabulary.Concept,
    generator: np.random.Generator,
) -> list[Text]:
    """The bare wording and some templates around it."""
    filled = [wording]
    for template in generator.choice(vocabulary.TEMPLATES, WORDINGS_EACH - 1):
        words = generator.choice(vocabulary.MODALITY_WORDS[modality])
        filled.append(str(template).format(target=wording, modality=words))
    return [Text(sentence=_vary(line, generator), targets=targets, visible_in=concept.visible_in) for line in filled]


def _shared(leave_out: frozenset[str]) -> list[Text]:
    return [Text(sentence=word, targets=named - leave_out) for word, named in vocabulary.SHARED_WORDINGS.items()]


def _absent(generator: np.random.Generator) -> list[Text]:
    every = [words for group in vocabulary.MODALITY_WORDS.values() for words in group]
    return [
        Text(
            sentence=_vary(
                str(generator.choice(vocabulary.TEMPLATES)).format(target=name, modality=generator.choice(every)),
                generator,
            ),
            visible_in=visible or frozenset({"nowhere"}),
        )
        for name, visible in vocabulary.ABSENT.items()
        for _ in range(3)
    ]


def _nonsense(generator: np.random.Generator) -> list[Text]:
    words = list(vocabulary.NONSENSE)
    for _ in range(RANDOM_WORDS):
        letters = generator.choice(list(string.ascii_lowercase), generator.integers(3, 16))
        words.append("".join(letters))
    return [Text(sentence=word) for word in words]


def _vary(sentence: str, generator: np.random.Generator) -> str:
    """Sometimes a capital or a full stop, as people type."""
    choice = generator.random()
    if choice < 0.1:
        return sentence.capitalize()
    return sentence + "." if choice < 0.2 else sentence
