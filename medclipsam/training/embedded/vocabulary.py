"""The words of a corpus as rows of a vocabulary: those of every target, and names of what no folder labels."""

from __future__ import annotations

from medclipsam.backbones.vocabulary import Word
from medclipsam.training.embedded.corpus import Corpus


def words_of(corpus: Corpus) -> list[Word]:
    """Every wording with what it names, held-out ones left out, each wording once."""
    named: dict[str, tuple[str, tuple[str, ...]]] = {}
    for concept in corpus.concepts:
        for wording in concept.wordings:
            _, targets = named.get(wording.casefold(), (wording, ()))
            named[wording.casefold()] = wording, (*targets, concept.target)
    for wording, shared in corpus.shared_wordings.items():
        named[wording.casefold()] = wording, tuple(sorted(shared))
    for name in (*corpus.untaught, *corpus.absent):
        named.setdefault(name.casefold(), (name, ()))
    return [Word(wording=wording, targets=targets) for wording, targets in named.values()]
