"""The words of a corpus as rows of a vocabulary, and which of its targets some images teach."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from medclipsam.backbones.vocabulary import Word
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.weights.targets import Target


def words_of(corpus: Corpus) -> list[Word]:
    """Every wording with what it names, held-out ones left out, and names of what no folder labels; each once."""
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


def taught_by(images: Iterable[LabelledImage]) -> list[Target]:
    """Every target that one of the images shows, with the folders that show it, in the words of a person."""
    shown: dict[str, set[str]] = defaultdict(set)
    for image in images:
        for target in set(image.targets) - set(image.missing):
            shown[target].add(image.folder.replace("_", " "))
    return [Target(target=target, images=tuple(sorted(folders))) for target, folders in sorted(shown.items())]
