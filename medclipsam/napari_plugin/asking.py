"""Asks about a scan what the widget asks: the server that runs, else a model that this process loads and keeps.

Both write the files of `medclipsam segment` into a temporary folder, from which the masks are read: they are its masks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.cli.arguments import parse_some, parse_window
from medclipsam.cli.models import Models
from medclipsam.errors import BadInput
from medclipsam.methods.contract import Segmenter
from medclipsam.report import Report
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.types import Progress

_NUMBER = re.compile(r"-[a-z](\d{4,})$")


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a scan."""

    scan: Path
    prompts: tuple[str, ...]
    preset: str = "embedded"
    """What a model of this process is made by; a server has its own."""
    window: str | None = None
    """As `--window` takes it; None: what `medclipsam segment` does without it."""
    slices: str | None = None
    """As `--slices` takes it; None: all."""
    use_server: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What one prompt found."""

    prompt: str
    masks: dict[int, NDArray[np.bool_]]
    """(height, width) by the number of the image in the scan, from 0; only images that were asked about."""
    boxes: dict[int, list[tuple[float, float, float, float]]]
    """x0, y0, x1, y1 by their edges."""
    found: bool


def ask(question: Question, tell: Progress) -> list[Answer]:
    """What each prompt finds.

    Raises:
        UserError: see `medclipsam.runs.one_scan.segment_scan` and `medclipsam.serve.client.ask_server`.
    """
    with TemporaryDirectory(prefix="medclipsam-") as folder:
        report = _by_server(question, Path(folder), tell) or _by_model(question, Path(folder), tell)
        return _answers(report, Path(folder))


def _by_server(question: Question, folder: Path, tell: Progress) -> Report | None:
    """None where no server runs that may be asked."""
    if not question.use_server or find_spec("httpx2") is None:
        return None
    from medclipsam.serve.client import Asked, ask_server  # noqa: PLC0415
    from medclipsam.serve.state import find  # noqa: PLC0415

    try:
        running = find(None)
    except BadInput:
        return None
    number, span = parse_some("slices", question.slices)
    asked: dict[str, Any] = {
        "prompts": question.prompts,
        "slice": number,
        "slices": span,
        "window": question.window,
        "formats": ("npy",),
        "overlays": False,
    }
    return ask_server(running, Asked(scan=question.scan, folder=folder, ask=asked), tell)


def _by_model(question: Question, folder: Path, tell: Progress) -> Report:
    Models(question.preset).check(question.prompts)
    number, span = parse_some("slices", question.slices)
    request = ScanRequest(
        scan=question.scan,
        prompts=question.prompts,
        folder=folder,
        slice_index=number,
        span=span,
        window=parse_window(question.window),
        formats=("npy",),
        overlays=False,
    )
    return segment_scan(request, lambda: _model(question.preset), tell)


@lru_cache(maxsize=1)
def _model(preset: str) -> Segmenter:
    return Models(preset)()


def _answers(report: Report, folder: Path) -> list[Answer]:
    answers: dict[str, Answer] = {}
    for image in report["images"]:
        number = _NUMBER.search(image["case"])
        index = int(number[1]) if number else 0
        for result in image["results"]:
            none = Answer(prompt=result["prompt"], masks={}, boxes={}, found=False)
            answer = answers.get(result["prompt"], none)
            answer.masks[index] = np.load(folder / result["files"]["mask"]) > 0
            answer.boxes[index] = [(x0, y0, x1, y1) for x0, y0, x1, y1 in result["boxes"]] if result["found"] else []
            answers[result["prompt"]] = Answer(
                prompt=answer.prompt,
                masks=answer.masks,
                boxes=answer.boxes,
                found=answer.found or result["found"],
            )
    return list(answers.values())
