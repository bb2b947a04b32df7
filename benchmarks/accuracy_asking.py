"""Asks one image all its questions and holds each answer against the masks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from accuracy_cases import Case, Kind, Question

from medclipsam.errors import BadInput
from medclipsam.io import read_image
from medclipsam.io.label_files import read_foreground
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.metrics.overlap import dice
from medclipsam.prompting.prompts import box_around
from medclipsam.types import NO_HINTS, BoolArray, Box, Hints, MedImage, Segmentation

ASTRIDE = 0.2
"""Share of a part of a mask on its smaller side from which it lies on both sides of the middle."""
SMALL = 0.02
"""Share of a mask below which a part of it lies on either side without harm."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of one question; for `other`, the mask of `text` against the reference of `target`."""

    kind: Kind
    dataset: str
    modality: str
    image: str
    split: str
    target: str
    text: str
    found: bool
    reason: str
    """Why nothing was found; empty where something was."""
    presence: float
    dice: float | None
    """None where there is nothing to hold the mask against."""
    seconds: float


def ask(root: Path, segmenter: ZeroShotSegmenter, case: Case) -> list[Answer]:
    """The answers to all questions of a case, its image encoded once; a side that no reference tells is left out."""
    image = read_image(root / case.image)
    references = {target: read_foreground(root / case.masks[target]) for target in case.shown}
    masks: dict[str, BoolArray] = {}
    answers = []
    for question in case.questions:
        reference = _reference(question, references)
        if question.kind == "side" and reference is None:
            continue
        began = time.perf_counter()
        result = segmenter.segment(image, question.text, _hints(question, image, reference))
        answers.append(_answer(case, question, result, reference, time.perf_counter() - began))
        if question.kind == "target":
            masks[question.target] = result.mask
    return [*answers, *_others(case, masks, references)]


def _reference(question: Question, references: Mapping[str, BoolArray]) -> BoolArray | None:
    whole = references.get(question.target)
    if question.kind == "side" and whole is not None:
        parts = halves(whole)
        return parts[question.text.split()[0]] if parts else None
    return whole


def _hints(question: Question, image: MedImage, reference: BoolArray | None) -> Hints:
    if question.kind == "whole box":
        return Hints(boxes=(Box(x0=0, y0=0, x1=image.size[1] - 1, y1=image.size[0] - 1),))
    if question.kind == "true box" and reference is not None:
        box = box_around(reference)
        if box is None:
            raise BadInput("an empty mask has no box")
        return Hints(boxes=(box,))
    return NO_HINTS


def _answer(
    case: Case, question: Question, result: Segmentation, reference: BoolArray | None, seconds: float
) -> Answer:
    return Answer(
        kind=question.kind,
        dataset=case.dataset,
        modality=case.modality,
        image=case.image,
        split=case.split,
        target=question.target,
        text=question.text,
        found=result.found,
        reason=result.reason or "",
        presence=result.presence,
        dice=None if reference is None else dice(result.mask, reference),
        seconds=seconds,
    )


def _others(case: Case, masks: Mapping[str, BoolArray], references: Mapping[str, BoolArray]) -> Iterator[Answer]:
    """For every ordered pair of targets in one image: how well the wrong prompt's mask fits."""
    for right in masks:
        for wrong in masks:
            if right != wrong:
                yield Answer(
                    kind="other",
                    dataset=case.dataset,
                    modality=case.modality,
                    image=case.image,
                    split=case.split,
                    target=right,
                    text=wrong,
                    found=bool(masks[wrong].any()),
                    reason="",
                    presence=0.0,
                    dice=dice(masks[wrong], references[right]),
                    seconds=0.0,
                )


def halves(mask: BoolArray) -> dict[str, BoolArray] | None:
    """The patient's left and right of a pair of organs, by the convention of pictures: left is on the viewer's right.

    None where a part of the mask lies on both sides of its middle, or one side is empty: such a mask does not tell.
    """
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    columns = np.flatnonzero(mask.any(axis=0))
    if not len(columns):
        return None
    beyond = np.arange(mask.shape[1])[None] > (columns[0] + columns[-1]) / 2
    left = np.zeros_like(mask)
    for part in range(1, count):
        where = parts == part
        share = float((where & beyond).sum() / where.sum())
        if min(share, 1 - share) > ASTRIDE and where.sum() > SMALL * mask.sum():
            return None
        left |= where & (share > 0.5)
    right = mask & ~left
    return {"left": left, "right": right} if left.any() and right.any() else None
