"""The words of a corpus as rows of a vocabulary, names of other structures, and what some images teach."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean

import torch
from pydicom.sr.codedict import codes
from torch import Tensor

from medclipsam.backbones.vocabulary import Word
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.weights.targets import Target

GROUPS = ("CID4", "CID4031", "CID7151", "CID7192", "CID8134")
"""DICOM's lists of what an image can show: regions of the body, anatomic structures, properties of segments
(PS3.16, annex B)."""
SYNONYM = 0.75
"""Cosine with a wording of the corpus from which another name may name the same thing."""


def words_of(corpus: Corpus) -> list[Word]:
    """Every wording with what it names, held-out ones left out, and names of what no folder labels; each once."""
    named: dict[str, tuple[str, tuple[str, ...]]] = {}
    for concept in corpus.concepts:
        for wording in concept.words:
            _, targets = named.get(wording.casefold(), (wording, ()))
            named[wording.casefold()] = wording, (*targets, concept.target)
    for wording, shared in corpus.shared_wordings.items():
        named[wording.casefold()] = wording, tuple(sorted(shared))
    for name in (*corpus.untaught, *corpus.absent):
        named.setdefault(name.casefold(), (name, ()))
    return [Word(wording=wording, targets=targets) for wording, targets in named.values()]


def with_other_structures(words: Sequence[Word], encode: Callable[[list[str]], Tensor]) -> tuple[list[Word], Tensor]:
    """The words, then DICOM's names of structures that none of their targets is, and the (n, 384) unit vectors of all.

    Args:
        encode: sentences -> (n, 384), unit length.
    """
    listed = {word.wording.casefold() for word in words}
    names = [name for name in _dicom_names() if name.casefold() not in listed]
    vectors, others = encode([word.wording for word in words]), encode(names)
    taught = vectors[torch.tensor([bool(word.targets) for word in words])]
    strange = (others @ taught.T).amax(dim=1) < SYNONYM
    more = [Word(wording=name) for name, is_strange in zip(names, strange.tolist(), strict=True) if is_strange]
    return [*words, *more], torch.cat([vectors, others[strange]])


def _dicom_names() -> list[str]:
    return sorted({meaning for group in GROUPS for meaning in _meanings(group)})


def _meanings(group: str) -> Iterator[str]:
    listed = getattr(codes, group)
    for keyword in listed.dir():
        try:
            yield getattr(listed, keyword).meaning
        except RuntimeError:  # pydicom refuses a keyword that two coding schemes hold
            continue


def promised(taught: Iterable[Target], dice: Mapping[str, float], least: float) -> list[Target]:
    """Those of the targets that validation images confirm; with `least` 0 all.

    Args:
        dice: of each "folder: target" on validation images; the folders of a target count alike.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for group, value in dice.items():
        found[group.partition(": ")[2]].append(value)
    return [each for each in taught if not least or (found[each.target] and fmean(found[each.target]) >= least)]


def taught_by(images: Iterable[LabelledImage]) -> list[Target]:
    """Every target that one of the images shows, with the folders that show it, in the words of a person."""
    shown: dict[str, set[str]] = defaultdict(set)
    for image in images:
        for target in set(image.targets) - set(image.missing):
            shown[target].add(image.folder.replace("_", " "))
    return [Target(target=target, images=tuple(sorted(folders))) for target, folders in sorted(shown.items())]
