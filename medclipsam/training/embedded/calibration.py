"""Two thresholds, chosen on the validation split: where "this cell shows it" and "the image shows it" begin.

Training balances its classes, so its 0.5 is not the best place to decide. Both thresholds are moved into the biases of
the tower, so that 0.5 is the place to decide for everyone who uses it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medclipsam.backbones.compact import CompactTower, outlined
from medclipsam.backbones.compact_clip import KnownTexts
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.encodings import Encodings, coverage_of

SHIFTS = np.arange(-3.0, 3.01, 0.25)
LOST = 0.015
"""Share of the targets whose map tells the place that the presence threshold may lose on the validation split, groups
counting alike."""
LOST_OF_ALL = 0.04
"""The same of all targets that are there; on images that no choice has seen more are lost, and 5 % may be."""
TOLD = 0.5
"""Dice of a map that tells the place: an answer that would show another place is not lost where it is not given."""
BATCH = 16


@dataclass(frozen=True)
class Judged:
    """One image asked for one text."""

    group: str
    """Folder and target, so that large folders do not outweigh small ones."""
    image: str
    """Below the folder of the data."""
    present: bool
    missing: bool
    """Searched for in this folder, and not in this image."""
    presence: float
    evidence: Tensor
    """(3 for each network,): the means of strong cells that presence is judged by."""
    logits: Tensor | None
    """(128, 128) above the map's threshold, where the target is present."""
    truth: Tensor | None
    """(128, 128) bool."""


@torch.no_grad()
def judge(
    tower: CompactTower,
    encodings: Encodings,
    names: Sequence[str],
    sentences: Tensor,
    corpus: Corpus,
    *,
    drawn: bool = True,
) -> Iterator[Judged]:
    """Ask every image that has targets for its own ones and for those that it cannot show.

    Args:
        names: the targets.
        sentences: (len(names), 384): their short names.
        drawn: whether maps are kept; what presence learns from needs none.
    """
    device = tower.mean.device
    text = KnownTexts(tower).read(sentences.to(device))
    asked = [row for row, image in enumerate(encodings.images) if image.targets]
    for start in range(0, len(asked), BATCH):
        rows = asked[start : start + BATCH]
        features, pixels, masks = encodings.stacked(rows)
        seen = tower.view(features.to(device), pixels.to(device))
        dense = tower.dense_logits(seen.cells, text)
        maps, evidence = tower.settled(dense), tower.evidence(dense)
        scores = tower.presence(evidence).tolist()
        for place, row in enumerate(rows):
            image = encodings.images[row]
            shown = [number for number, name in enumerate(names) if drawn and name in image.targets]
            strokes = tower.strokes(seen.outline[place : place + 1], text[shown])
            own = outlined(maps[place : place + 1, shown], strokes)[0].cpu()
            told = zip(names, evidence[place].cpu(), scores[place], strict=True)
            logits = dict(zip((names[number] for number in shown), own, strict=True))
            yield from _judge_image(image, masks[place], told, logits, corpus)


def _judge_image(
    image: LabelledImage,
    masks: Tensor,
    asked: Iterable[tuple[str, Tensor, float]],
    maps: Mapping[str, Tensor],
    corpus: Corpus,
) -> Iterator[Judged]:
    body = corpus.body(image)
    for name, seen, score in asked:
        group = f"{image.folder}: {name}"
        if name in image.targets:
            truth = coverage_of(image, masks, frozenset({name})) >= 0.5
            shown = bool(truth.any())
            logits = maps.get(name) if shown else None
            yield Judged(group, image.image, shown, not shown, score, seen, logits, None if logits is None else truth)
        elif body is not None and body not in corpus.concept(name).visible_in:
            yield Judged(group, image.image, False, False, score, seen, None, None)


def calibrate(tower: CompactTower, judged: Sequence[Judged]) -> dict[str, float]:
    """Move both biases of the tower; says what was chosen and what it gives on these images.

    Where none of them shows its target, both stay as they are and there is nothing to say.
    """
    if not any(case.present for case in judged):
        return {}
    shift = best_shift(judged)
    threshold = _presence_threshold(judged, shift)
    here = np.array([case.presence for case in judged if case.present])
    wrong = np.array([case.presence for case in judged if not case.present and not case.missing])
    missing = np.array([case.presence for case in judged if case.missing])
    with torch.no_grad():
        tower.dense_bias.add_(shift)
        tower.presence.judge.get_parameter("2.bias").sub_(threshold)
    return {
        "dense_shift": shift,
        "presence_threshold": threshold,
        "lost": float((here < threshold).mean()),
        "rejected": float((wrong < threshold).mean()) if len(wrong) else float("nan"),
        "missing_rejected": float((missing < threshold).mean()) if len(missing) else float("nan"),
        "dice": macro_dice(judged, shift),
    }


def _presence_threshold(judged: Sequence[Judged], shift: float) -> float:
    """The highest threshold that loses no more than `LOST` of the maps that tell the place, or of all where none does,
    and no more than `LOST_OF_ALL` of all."""
    present = [case for case in judged if case.present]
    told = [case for case in present if (found := _dice(case, shift)) is not None and found >= TOLD]
    return min(_highest(told or present, LOST), _highest(present, LOST_OF_ALL))


def _highest(cases: Sequence[Judged], lost: float) -> float:
    """The highest threshold that loses no more than a share of these; groups count alike, however many images they
    have."""
    groups = defaultdict(list)
    for case in cases:
        groups[case.group].append(case.presence)
    scores = np.concatenate([np.asarray(values) for values in groups.values()])
    weights = np.concatenate([np.full(len(values), 1 / (len(values) * len(groups))) for values in groups.values()])
    order = np.argsort(scores)
    under = np.concatenate([[0], np.cumsum(weights[order])])[:-1]
    return float(scores[order][np.flatnonzero(under <= lost)[-1]])


def macro_dice(judged: Sequence[Judged], shift: float = 0.0) -> float:
    """Dice of the thresholded maps, mean over groups."""
    return float(np.mean([np.mean(values) for values in group_dice(judged, shift).values()]))


def group_dice(judged: Sequence[Judged], shift: float = 0.0) -> dict[str, list[float]]:
    """Dice of the thresholded maps of each group."""
    groups = defaultdict(list)
    for case in judged:
        if (found := _dice(case, shift)) is not None:
            groups[case.group].append(found)
    return groups


def _dice(case: Judged, shift: float) -> float | None:
    """Overlap of the thresholded map with the mask; None where the target is not there."""
    if case.logits is None or case.truth is None:
        return None
    mask = case.logits + shift > 0
    return float(2 * (mask & case.truth).sum() / (mask.sum() + case.truth.sum()))


def best_shift(judged: Sequence[Judged]) -> float:
    """The shift whose masks are best: three quarters of the answer are this map, and its boxes are SAM's prompts."""
    return float(max(SHIFTS, key=lambda shift: macro_dice(judged, float(shift))))
