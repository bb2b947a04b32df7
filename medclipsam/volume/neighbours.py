"""What do neighbouring slices say of a slice? Each is answered on its own first; then those beside it are heard.

    slice     1    2    3    4    5    6    7
    found     .    x    .    .    x    .    x      each on its own
    vote      .    .    .    .    x    x    x      2 stands alone: dropped; 6 lacks between two: asked with their box
    share                                          a mask from probabilities that lean on both sides

Three slices are held at a time. Slices beside a gap are no neighbours; a stack whose slices do not say where they lie
has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from medclipsam.io.source import neighbour_gap
from medclipsam.prompting.prompts import box_around
from medclipsam.types import BoolArray, Box, FloatArray, MedImage, Segmentation
from medclipsam.volume.rules import VolumeRule

MASK_THRESHOLD = 0.5
Answers = Sequence[Segmentation]
"""One for each prompt."""
Ask = Callable[[MedImage, str, Sequence[Box]], Segmentation]
"""Ask a prompt of a slice again, with boxes in place of the text's own."""


@dataclass(frozen=True, eq=False)
class Answered:
    """A slice, and what each prompt found on it."""

    image: MedImage
    results: Answers


def with_neighbours(
    slices: Iterable[Answered], places_mm: Sequence[float] | None, rule: VolumeRule, ask: Ask
) -> Iterator[Answered]:
    """Let neighbours speak; slices come out in their order, one step later than they go in.

    Args:
        slices: in the order of their places; a part of a stack where only that is asked for.
        places_mm: of those slices, along the stack; None where they have no neighbours.
        rule: how they inform each other; `largest` is for `medclipsam.volume.parts`.
        ask: for a slice that both neighbours contradict.
    """
    if places_mm is None or not (rule.vote or rule.share):
        yield from slices
        return
    gap = neighbour_gap(places_mm)
    joined = [abs(after - before) <= gap for before, after in pairwise(places_mm)]
    coming = iter(slices)
    before, this = None, next(coming, None)
    for is_joined in [*joined, False]:
        if this is None:
            return
        after = next(coming, None)
        beside = [each for each in (before, after if is_joined else None) if each is not None]
        yield Answered(this.image, [_settled(this, beside, prompt, rule, ask) for prompt in range(len(this.results))])
        before, this = (this if is_joined else None), after


def _settled(this: Answered, beside: Sequence[Answered], prompt: int, rule: VolumeRule, ask: Ask) -> Segmentation:
    """One prompt's answer on one slice, after its neighbours were heard."""
    own, others = this.results[prompt], [each.results[prompt] for each in beside]
    alike = [each for each in others if each.mask.shape == own.mask.shape]
    if rule.vote and len(alike) == 2 and len({each.found for each in alike}) == 1 and alike[0].found != own.found:
        if own.found:
            return _nothing(own)
        own = _asked_again(this.image, own, alike, ask)
    if not own.found or not rule.share or not alike:
        return own
    around: FloatArray = np.mean([each.probability for each in alike], axis=0, dtype=np.float32)
    probability = (1 - rule.share) * own.probability + rule.share * around
    return with_mask(own, probability > MASK_THRESHOLD, probability)


def _asked_again(image: MedImage, own: Segmentation, beside: Answers, ask: Ask) -> Segmentation:
    """The slice between two that show the target: SAM looks where they show it."""
    box = box_around(np.any([each.mask for each in beside], axis=0))
    if box is None:
        return own
    again = ask(image, own.prompt, (box,))
    return replace(again, presence=own.presence)


def with_mask(own: Segmentation, mask: BoolArray, probability: FloatArray) -> Segmentation:
    """The answer with another mask; an empty one is "not found"."""
    if mask.any():
        return replace(own, mask=mask, probability=probability, found=True)
    empty = np.zeros_like(probability)
    return replace(own, mask=mask, probability=empty, found=False, boxes=(), points=None, scores=())


def _nothing(own: Segmentation) -> Segmentation:
    return with_mask(own, np.zeros_like(own.mask), own.probability)
