"""Tells words that the embedded model was taught from words that it never was: "kidney" of a model of hearts.

A model that never saw a structure finds nothing, or something else. So each text is compared, as a sentence vector,
with the words of taught targets and with names of structures that were not taught; a text to which the taught ones do
not lie nearer by a lead, or that is far from all of them, is said to be never taught. How near a group lies is a soft
maximum over its words, so that a group with many words that are rather near outweighs one with a single word that is a
little nearer by chance, and a group is not nearer for being larger. A taught name, and a sentence that holds one, count
as taught.

    text -> MiniLM -> cosine with WORDS (taught | not taught) -> Familiar(taught, nearest targets)
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from medclipsam.errors import BadInput
from medclipsam.types import Familiar, FloatArray

WORDS = "words.safetensors"
FAR = 0.5
"""Cosine with the nearest taught word below which a text is far from everything: "a red sports car"."""
SOFTNESS = 0.05
"""Width of the soft maximum, in cosines; chosen, like `FAR`, on the words themselves, each left out in turn."""
LEAD = 0.02
"""How much nearer to the taught words than to all others a text must lie: the most, in steps of 0.005, by which of both
weights no more than 4 % of 5,624 taught wordings, each left out in turn, were lost. Of all that are taught since, 5.6 %
are (`benchmarks/vocabulary.py`)."""
SAME = 0.9
"""Cosine from which a text is a word for several targets ("bone"), which "lunate bone" is not."""
CLEAR = 0.1
"""How much nearer than to all others a text must lie to one target to name it and no other."""
SENTENCE = 6
"""Words from which a text is a sentence, whose adjectives and places say more than the one name in it."""
TOLD = 3
"""Number of targets that are named as nearest."""
USUAL = 12
"""Wordings of a target, which are listed from the usual to the rare, that are worth keeping ready."""


@dataclass(frozen=True, kw_only=True)
class Word:
    """One wording and what it names."""

    wording: str
    targets: tuple[str, ...] = ()
    """Targets of the training data; empty where no data show it."""


class Vocabulary:
    """Words with their vectors, seen by a model that was taught some of their targets.

    Args:
        words: wordings of targets, and names of what is none.
        vectors: (n, 384), unit length.
        taught: the targets that the model knows.
    """

    def __init__(self, words: Sequence[Word], vectors: ArrayLike, taught: Collection[str]) -> None:
        self._words, self._vectors = tuple(words), np.asarray(vectors, np.float32)
        self._known = np.array([bool(set(word.targets) & set(taught)) for word in self._words])
        self._shared = np.array([len(word.targets) > 1 for word in self._words])
        numbers: dict[frozenset[str], int] = {}
        self._meaning = np.array([numbers.setdefault(frozenset(word.targets), len(numbers)) for word in self._words])
        self._taught = frozenset(taught)

    @classmethod
    def read(cls, path: Path, taught: Collection[str]) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            BadInput: the file is no vocabulary.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                rows = json.loads(file.metadata()["words"])
                vectors = file.get_tensor("vectors").astype(np.float32)
                vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
        except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
            raise BadInput(f"{path.name} is not the vocabulary of an embedded model") from error
        return cls([Word(wording=wording, targets=tuple(targets)) for wording, targets in rows], vectors, taught)

    @property
    def taught_wordings(self) -> tuple[str, ...]:
        """The wordings of targets that the model knows, each once."""
        pairs = zip(self._words, self._known, strict=True)
        return tuple(dict.fromkeys(word.wording for word, known in pairs if known))

    @property
    def usual_wordings(self) -> tuple[str, ...]:
        """Those among them that people use most: the first `USUAL` of each target, and words for several targets."""
        counts: Counter[str] = Counter()
        found: dict[str, None] = {}
        for word, known in zip(self._words, self._known, strict=True):
            if known and (len(word.targets) > 1 or counts[word.targets[0]] < USUAL):
                found[word.wording] = None
            counts.update(word.targets)
        return tuple(found)

    @property
    def has_words_for_all(self) -> bool:
        """Whether every taught target has a word here; a model of other targets would find its own words strange."""
        return self._taught <= {target for word in self._words for target in word.targets}

    def familiar(self, text: str, vector: ArrayLike) -> Familiar:
        """Whether a text names something taught.

        Args:
            text: the words.
            vector: (384,), their sentence vector, unit length.
        """
        return self.judge(text, self.nearness(vector))

    def nearness(self, vector: ArrayLike) -> FloatArray:
        """(n,): cosines of a sentence vector (384,) of unit length with the words."""
        return np.asarray(self._vectors @ np.asarray(vector, np.float32))

    def judge(self, text: str, nearness: FloatArray) -> Familiar:
        """The same, from the text's cosines with the words (n,)."""
        words = text.casefold()
        named = words in self._names or (len(words.split()) >= SENTENCE and self._holds_a_name(words))
        taught = named or self._is_taught(nearness)
        return Familiar(taught=taught, nearest=self._nearest(nearness), named=self._one_named(nearness))

    def _is_taught(self, nearness: FloatArray) -> bool:
        if (nearness[self._known & self._shared] >= SAME).any():
            return True
        return self.lead(nearness) >= LEAD

    def lead(self, nearness: FloatArray) -> float:
        """How much nearer the taught words lie than the others, each as a whole; -1 of a text that is far from them.

        Args:
            nearness: (n,), cosines of the text with the words.
        """
        own, others = nearness[self._known & ~self._shared], nearness[~self._known]
        return _soft_maximum(own) - _soft_maximum(others) if own.max(initial=-1) >= FAR else -1

    def _one_named(self, nearness: FloatArray) -> str | None:
        """The target of the nearest word, where the words of all others are less near by `CLEAR`."""
        nearest = int(nearness.argmax())
        targets, others = self._words[nearest].targets, self._meaning != self._meaning[nearest]
        clear = nearness.max(initial=-1) >= nearness[others].max(initial=-1) + CLEAR
        return targets[0] if clear and len(targets) == 1 and targets[0] in self._taught else None

    def _holds_a_name(self, words: str) -> bool:
        """Whether a taught name stands in a text, and is no part of a longer one that was never taught."""
        longer = list(_standing_in(words, self._others))
        return any(
            not any(begin <= start and stop <= end and (start, stop) != (begin, end) for begin, end in longer)
            for start, stop in _standing_in(words, self._names)
        )

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(wording.casefold() for wording in self.taught_wordings)

    @cached_property
    def _others(self) -> frozenset[str]:
        pairs = zip(self._words, self._known, strict=True)
        return frozenset(word.wording.casefold() for word, known in pairs if not known)

    def _nearest(self, nearness: FloatArray) -> tuple[str, ...]:
        """The taught targets with the nearest words, each once."""
        found: dict[str, None] = {}
        for row in np.argsort(-np.where(self._known, nearness, -2), kind="stable").tolist():
            found |= dict.fromkeys(target for target in self._words[row].targets if target in self._taught)
            if len(found) >= TOLD:
                break
        return tuple(found)[:TOLD]


def _standing_in(text: str, names: Collection[str]) -> Iterator[tuple[int, int]]:
    """Where names stand in a text as whole words, the longest that begins at a place and none inside another."""
    places = [found.start() for found in re.finditer(r"\b", text)]
    longest, free = max(map(len, names), default=0), 0
    for start in places:
        ends = (stop for stop in reversed(places) if 0 < stop - start <= longest and text[start:stop] in names)
        stop = next(ends, None) if start >= free else None
        if stop is not None:
            free = stop
            yield start, stop


def _soft_maximum(nearness: FloatArray) -> float:
    """Log-mean-exp of width `SOFTNESS`, so that a long list is not near to everything; -1 of nothing."""
    highest = nearness.max(initial=-1)
    return float(highest + SOFTNESS * np.log(np.exp((nearness - highest) / SOFTNESS).mean())) if len(nearness) else -1


def to_bytes(words: Sequence[Word], vectors: ArrayLike) -> bytes:
    """Words and their (n, 384) vectors, whose length is one, as a safetensors file of 8 bits a number."""
    rows = json.dumps([(word.wording, word.targets) for word in words], ensure_ascii=False)
    values = np.asarray(vectors, np.float32)
    levels = np.rint(127 * values / np.abs(values).max(axis=-1, keepdims=True).clip(1e-6)).astype(np.int8)
    return save({"vectors": levels}, metadata={"words": rows})
