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
from medclipsam.io.atomic import write_atomic
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


def ask(
    segmenter: Lazy, training: Training, questions: Sequence[Question], data: Path, work: Path, *, limit: int = 0
) -> list[Scored]:
    """Score every case of every question that is not kept yet; all questions of an image follow each other.

    Raises:
        ValueError: a design that has no sentence for a case.
    """
    folder = work / "scores" / training.name
    missing = [question for question in questions if not (folder / f"{question.name}.json").is_file()]
    for alike in _of_same_images(missing):
        cases = read_cases(data, alike[0].dataset, _splits(alike[0]), limit)
        sheet = read_sheet(data, alike[0].dataset)
        said = [texts(data, cases, sheet, question.design, training.seed) for question in alike]
        scores = []
        for number, (case, *asked) in enumerate(zip(cases, *said, strict=True), 1):
            scores.append(score_case(segmenter, data, case, asked, alike[0].corruption))
            print(f"\r{training.name} {alike[0].name} {number}/{len(cases)} ", end="", flush=True)
        print()
        for question, of_question in zip(alike, zip(*scores, strict=True), strict=True):
            _keep(folder, Scored(training=training, question=question, cases=of_question))
    return [read_scored(folder / f"{question.name}.json") for question in questions]


def _of_same_images(questions: Sequence[Question]) -> list[list[Question]]:
    grouped: dict[tuple[object, ...], list[Question]] = {}
    for question in questions:
        grouped.setdefault((question.dataset, question.split, question.corruption), []).append(question)
    return list(grouped.values())


def _keep(folder: Path, scored: Scored) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{scored.question.name}.json", json.dumps(asdict(scored)))


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


def score_case(
    segmenter: Lazy, data: Path, case: Case, asked: Sequence[str], corruption: tuple[str, int]
) -> list[CaseScore]:
    """Ask these texts about one image, and measure the answers on its own grid."""
    image, reference = read_image(data / case.image), read_foreground(data / case.mask)
    shown = corrupted(image, *corruption) if corruption[0] else image
    found = []
    for text in asked:
        began = perf_counter()
        answer = segmenter.segment(shown, text)
        seconds = perf_counter() - began
        mask = answer.mask if shown is image else laid_back(answer.mask, image.size)
        found.append(measured(case, text, answer, (mask, reference), seconds))
    return found


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
