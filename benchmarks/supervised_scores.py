"""Scores of the supervised comparison: every test case of a trained run, kept as one JSON for each question asked.

The mask is scored on the grid of the original image. A case keeps the pixel counts from which the pooled Dice is made,
and how unsure the method was inside the mask that it drew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from corruptions import corrupted, laid_back
from supervised_cases import Case, read_cases, read_sheet, texts
from supervised_runs import Training

from medclipsam.io import read_image
from medclipsam.io.label_files import read_foreground
from medclipsam.methods.contract import Segmenter
from medclipsam.metrics import score
from medclipsam.types import BoolArray, MedImage, Segmentation

CLEAN = ("", 0)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a run is asked."""

    dataset: str
    design: str
    """What the texts are, see `supervised_cases.DESIGNS`."""
    split: str = "test"
    corruption: tuple[str, int] = CLEAN
    """Kind and level, see `corruptions`."""

    @property
    def name(self) -> str:
        """Of the file."""
        kind, level = self.corruption
        return ".".join([self.dataset, self.split, self.design, *([f"{kind}-{level}"] if kind else [])])


@dataclass(frozen=True, kw_only=True)
class CaseScore:
    """One case."""

    image: str
    target: str
    group: str
    text: str
    present: bool
    found: bool
    presence: float | None
    dice: float
    nsd: float
    """True contour, 2 px."""
    nsd_slab: float
    """The released code's."""
    overlap_px: int
    predicted_px: int
    reference_px: int
    entropy: float | None
    """Mean over the predicted mask, in bits; None where it is empty or the method has none."""
    information: float | None
    entropy_per_area: float | None
    """Sum over the image, divided by the sum of the probability: defined for empty masks too."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Scored:
    """All cases of a question to a run."""

    training: Training
    question: Question
    cases: tuple[CaseScore, ...]


def ask(segmenter: Lazy, training: Training, question: Question, data: Path, work: Path, *, limit: int = 0) -> Scored:
    """Score every case, or read the scores where they are kept.

    Raises:
        ValueError: a design that has no sentence for a case.
    """
    path = work / "scores" / training.name / f"{question.name}.json"
    if path.is_file():
        return read_scored(path)
    cases = read_cases(data, question.dataset, _splits(question), limit)
    said = texts(data, cases, read_sheet(data, question.dataset), question.design, training.seed)
    scores = []
    for number, (case, text) in enumerate(zip(cases, said, strict=True), 1):
        scores.append(score_case(segmenter, data, case, text, question.corruption))
        print(f"\r{training.name} {question.name} {number}/{len(cases)} ", end="", flush=True)
    print()
    scored = Scored(training=training, question=question, cases=tuple(scores))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(scored)))
    return scored


def _splits(question: Question) -> Sequence[str]:
    return ("train", "val", "test") if question.split == "all" else (question.split,)


def read_scored(path: Path) -> Scored:
    """What `ask` kept."""
    kept = json.loads(path.read_text())
    training, question = kept["training"], kept["question"]
    return Scored(
        training=Training(**{**training, "settings": tuple(training["settings"])}),
        question=Question(**{**question, "corruption": tuple(question["corruption"])}),
        cases=tuple(CaseScore(**case) for case in kept["cases"]),
    )


def score_case(segmenter: Lazy, data: Path, case: Case, text: str, corruption: tuple[str, int]) -> CaseScore:
    """Ask about one image, and measure the answer on its own grid."""
    image, reference = read_image(data / case.image), read_foreground(data / case.mask)
    shown = corrupted(image, *corruption) if corruption[0] else image
    began = perf_counter()
    answer = segmenter.segment(shown, text)
    seconds = perf_counter() - began
    mask = answer.mask if shown is image else laid_back(answer.mask, image.size)
    return measured(case, text, answer, (mask, reference), seconds)


def measured(
    case: Case, text: str, answer: Segmentation, masks: tuple[BoolArray, BoolArray], seconds: float
) -> CaseScore:
    """The figures of one answer; `masks` are its own, on the grid of the reference, and the reference."""
    mask, reference = masks
    found = score(mask, reference)
    return CaseScore(
        image=case.image,
        target=case.target,
        group=case.group,
        text=text,
        present=bool(reference.any()),
        found=answer.found,
        presence=answer.presence,
        dice=found.dice,
        nsd=found.nsd,
        nsd_slab=float(found.nsd_slab or 0.0),
        overlap_px=int(np.count_nonzero(mask & reference)),
        predicted_px=found.predicted_px,
        reference_px=found.reference_px,
        **_doubts(answer),
        seconds=seconds,
    )


def _doubts(answer: Segmentation) -> dict[str, Any]:
    unsure = answer.uncertainty
    if unsure is None:
        return {"entropy": None, "information": None, "entropy_per_area": None}
    inside = answer.mask if answer.mask.any() else None
    return {
        "entropy": None if inside is None else float(unsure.entropy[inside].mean()),
        "information": None if inside is None else float(unsure.information[inside].mean()),
        "entropy_per_area": float(unsure.entropy.sum() / max(answer.probability.sum(), 1.0)),
    }


class Lazy:
    """A segmenter that is loaded when it is first asked, for scores that are kept need none."""

    def __init__(self, load: Callable[[], Segmenter]) -> None:
        self._load = cache(load)

    def segment(self, image: MedImage, text: str) -> Segmentation:
        """See the contract."""
        return self._load().segment(image, text)
