"""The sentences that a training step asks, and the right answer of each image to each of them.

The answer is a set of targets whose masks count, an empty mask ("not found"), or unknown, where nothing is learned.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medclipsam.sides import said_side
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.embedded.corpus import Concept, Corpus

WORDINGS_EACH = 8
RANDOM_WORDS = 300
SIGNS = {"left": 1.0, "right": -1.0, None: 0.0}


@dataclass(frozen=True, kw_only=True)
class Text:
    """One sentence and what it names."""

    sentence: str
    targets: frozenset[str] = frozenset()
    """Targets that the sentence names; empty for absent structures and nonsense."""
    visible_in: frozenset[str] = frozenset()
    """Body parts where the answer is unknown."""
    repeated: bool = False
    """Whether it is a further line of a wording, mostly in a sentence, that weights need not keep."""

    def answer(self, image: LabelledImage, body: str | None) -> frozenset[str] | None:
        """The targets of `image`, which shows `body`, that this sentence names.

        The empty set stands for "not found", None for an answer that is not known.
        """
        named = self.targets & set(image.targets)
        if named:
            return named
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

    @property
    def kept(self) -> list[int]:
        """The texts that the weights are to know: each wording and synonym once, without the sentences around it, and
        all that names no single target."""
        return [index for index, text in enumerate(self.texts) if not text.repeated]

    def named(self, targets: Sequence[str]) -> Tensor:
        """(len(texts),): which of `targets` each sentence names; -1 where it names none or several."""
        found = torch.full((len(self.texts),), -1)
        for number, target in enumerate(targets):
            found[list(self.by_target[target])] = number
        return found

    @property
    def sides(self) -> Tensor:
        """(len(texts),): 1 of a sentence that says left, -1 of one that says right, 0 of others."""
        return torch.tensor([SIGNS[said_side(text.sentence)] for text in self.texts])

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


def build_bank(
    corpus: Corpus, modalities: Mapping[str, str], generator: np.random.Generator, leave_out: frozenset[str]
) -> TextBank:
    """Write out the words of a corpus in sentences.

    Args:
        modalities: target -> modality, as in index.csv.
        leave_out: targets that this run must never hear of.
    """
    texts: list[Text] = []
    by_target: dict[str, tuple[int, ...]] = {}
    for concept in _concepts(corpus, modalities, leave_out):
        start = len(texts)
        for wording in concept.wordings:
            texts += _sentences(corpus, wording, modalities[concept.target], concept, generator)
        texts += [_text(synonym, concept, generator) for synonym in concept.synonyms]
        by_target[concept.target] = tuple(range(start, len(texts)))
    groups: dict[str, tuple[int, ...]] = {}
    for name, more in (
        ("shared", _shared(corpus, leave_out)),
        ("absent", _absent(corpus, generator)),
        ("nonsense", _nonsense(corpus, generator)),
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


def _concepts(corpus: Corpus, modalities: Mapping[str, str], leave_out: frozenset[str]) -> list[Concept]:
    """Those of the data: the corpus' own in its order, then the others by name."""
    own = [concept.target for concept in corpus.concepts]
    targets = [*own, *sorted(modalities.keys() - set(own))]
    return [corpus.concept(target) for target in targets if target in modalities and target not in leave_out]


def _sentences(
    corpus: Corpus, wording: str, modality: str, concept: Concept, generator: np.random.Generator
) -> list[Text]:
    """The bare wording and some templates around it."""
    filled = []
    for template in generator.choice(corpus.templates, WORDINGS_EACH - 1):
        words = generator.choice(corpus.words_for(modality))
        filled.append(str(template).format(target=wording, modality=words))
    return [_text(wording, concept, generator), *(_text(line, concept, generator, repeated=True) for line in filled)]


def _text(line: str, concept: Concept, generator: np.random.Generator, *, repeated: bool = False) -> Text:
    named = frozenset({concept.target})
    return Text(sentence=_vary(line, generator), targets=named, visible_in=concept.visible_in, repeated=repeated)


def _shared(corpus: Corpus, leave_out: frozenset[str]) -> list[Text]:
    return [Text(sentence=word, targets=named - leave_out) for word, named in corpus.shared_wordings.items()]


def _absent(corpus: Corpus, generator: np.random.Generator) -> list[Text]:
    every = [words for group in corpus.modality_words.values() for words in group]
    return [
        Text(
            sentence=_vary(
                str(generator.choice(corpus.templates)).format(target=name, modality=generator.choice(every)),
                generator,
            ),
            visible_in=visible or frozenset({"nowhere"}),
        )
        for name, visible in corpus.absent.items()
        for _ in range(3)
    ]


def _nonsense(corpus: Corpus, generator: np.random.Generator) -> list[Text]:
    words = list(corpus.nonsense)
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
