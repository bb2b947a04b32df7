"""Lets neighbouring slices speak: each is answered on its own first, then those beside it are heard.

    slice     1     2     3     4     5     6     7
    mask      ..    x.    ..    ..    .x    ..    .x      each on its own
    agree     ..    ..    ..    ..    .x    .x    .x      6 lacks between two that meet: asked with their box
                                                          (by a method that takes hints); then 2 meets no
                                                          mask beside it: dropped
    share                                                 a mask from probabilities that lean on both sides

A few slices are held at a time. Slices beside a gap are no neighbours; a stack whose slices do not say where they lie
has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np

from medclipsam.io.source import neighbour_gap
from medclipsam.prompting.prompts import box_around
from medclipsam.types import MASK_THRESHOLD, BoolArray, FloatArray, Hints, MedImage, Segmentation
from medclipsam.volume.rules import VolumeRule

Answers = Sequence[Segmentation]
"""One for each prompt."""
Ask = Callable[[MedImage, str, Hints], Segmentation]
"""Ask a prompt of a slice again, with boxes in place of the text's own."""


Stage = Callable[[MedImage, Segmentation, Answers], Segmentation]
"""From a slice, its answer and those of one or two slices beside it, of the same size, to its next answer."""


@dataclass(frozen=True, eq=False)
class Answered:
    """A slice, and what each prompt found on it."""

    image: MedImage
    results: Answers


def with_neighbours(
    slices: Iterable[Answered], places_mm: Sequence[float] | None, rule: VolumeRule, ask: Ask | None
) -> Iterator[Answered]:
    """Let neighbours speak; slices come out in their order, a few steps later than they go in.

    Args:
        slices: in the order of their places; a part of a stack where only that is asked for.
        places_mm: of those slices, along the stack; None where they have no neighbours.
        rule: how they inform each other; `largest` is for `medclipsam.volume.parts`.
        ask: for a slice that both neighbours contradict; None where the method takes no hints: then it stays as it is.
    """
    heard = iter(slices)
    if places_mm is None:
        return heard
    stages: list[Stage] = []
    if rule.agree:
        stages += [partial(_filled, ask=ask), _borne_out] if ask else [_borne_out]
    if rule.share:
        stages.append(partial(_leaning, share=rule.share))
    for stage in stages:
        heard = _through(heard, places_mm, stage)
    return heard


def _through(slices: Iterator[Answered], places_mm: Sequence[float], stage: Stage) -> Iterator[Answered]:
    """Each slice after one stage, which sees those beside it as they were before it."""
    gap = neighbour_gap(places_mm)
    joined = [abs(after - before) <= gap for before, after in pairwise(places_mm)]
    before, this = None, next(slices, None)
    for is_joined in [*joined, False]:
        if this is None:
            return
        after = next(slices, None)
        beside = [each for each in (before, after if is_joined else None) if each is not None]
        yield Answered(this.image, [_settled(this, beside, prompt, stage) for prompt in range(len(this.results))])
        before, this = (this if is_joined else None), after


def _settled(this: Answered, beside: Sequence[Answered], prompt: int, stage: Stage) -> Segmentation:
    own, others = this.results[prompt], [each.results[prompt] for each in beside]
    alike = [each for each in others if each.mask.shape == own.mask.shape]
    return stage(this.image, own, alike) if alike else own


def _filled(image: MedImage, own: Segmentation, beside: Answers, *, ask: Ask) -> Segmentation:
    """Nothing, between two that meet: SAM looks where they show it."""
    if own.found or len(beside) < 2 or not (beside[0].mask & beside[1].mask).any():
        return own
    box = box_around(beside[0].mask | beside[1].mask)
    return own if box is None else replace(ask(image, own.prompt, Hints(boxes=(box,))), presence=own.presence)


def _borne_out(image: MedImage, own: Segmentation, beside: Answers) -> Segmentation:
    """A mask that meets none beside it is dropped; at an end of the stack, or beside a gap, one neighbour decides."""
    alone = not any((own.mask & each.mask).any() for each in beside)
    return with_mask(own, np.zeros_like(own.mask), own.probability) if alone else own


def _leaning(image: MedImage, own: Segmentation, beside: Answers, *, share: float) -> Segmentation:
    """The mask from a probability of which a share is the mean of those beside it."""
    if not own.found:
        return own
    around: FloatArray = np.mean([each.probability for each in beside], axis=0, dtype=np.float32)
    probability = (1 - share) * own.probability + share * around
    return with_mask(own, probability > MASK_THRESHOLD, probability)


def with_mask(own: Segmentation, mask: BoolArray, probability: FloatArray) -> Segmentation:
    """The answer with another mask; an empty one is "not found", by its neighbours where it was found alone."""
    if mask.any():
        return replace(own, mask=mask, probability=probability, found=True)
    empty = np.zeros_like(probability)
    reason = "neighbours" if own.found else own.reason
    return replace(own, mask=mask, probability=empty, found=False, reason=reason, boxes=(), points=None, scores=())
