"""Chooses the display window in which a model is asked about a CT: for lungs theirs, where presence is greater in it.

    3 slices of a CT, evenly spread --as read, lung--> presence of the prompt -> one window for all slices

A window for soft tissue shows lungs plain black: nothing of them is left to find. For other structures no window but
the file's is tried: the greatest presence of several finds many more of them, also where they are not (the last table
of `benchmarks/ct_windows.py`).
Only values in Hounsfield units can be shown in another window, so every other scan is asked as it was read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, cast

import numpy as np

from medclipsam.io.sniff import VOLUMES
from medclipsam.io.window import (
    AIR_HU,
    AUTO,
    FILE,
    NAMED_HU,
    Window,
    as_rgb,
    between,
    edges,
    percentile_range,
    spread,
    without_padding,
)
from medclipsam.methods.contract import Segmenter, StackSegmenter, Weighed
from medclipsam.types import NO_HINTS, Hints, MedImage, Segmentation
from medclipsam.volume.together import TwoSteps

Ask = Callable[[MedImage, str, Hints], Segmentation]
"""What a prompt finds on an image."""
OF_LUNGS = re.compile(
    r"\b(lungs?|pulmonary|bronch(us|i|ial)|airways?|trachea|pneumoni(a|c)|covid|emphysema|pneumothorax|consolidation"
    r"|ground-glass)\b",
    re.IGNORECASE,
)
"""Names what a window for lungs is made for."""
OF_VESSELS = re.compile(r"\b(arter(y|ies)|veins?|trunk|valve|embol(us|ism)|vessels?|circulation)\b", re.IGNORECASE)
"""Names what may be pulmonary, and yet lies in a window for soft tissue."""
SLICES = 3
"""Slices of a stack on which the choice is made."""
MARGIN = 0.05
"""How much more presence, of 1, makes another window than the file's better: less is chance."""

_log = logging.getLogger(__name__)


class Readable(Protocol):
    """Images of a scan."""

    def __len__(self) -> int:
        """How many."""

    def read(self, number: int) -> MedImage:
        """The one of that number, from 0."""


class BestWindow:
    """Shows a CT in the window that suits a prompt; every other scan as it was read.

    Args:
        presence: how surely a prompt's target is in an image, from 0 to 1.
        images: of one scan; the window of a prompt is chosen once, when it is first shown.
    """

    def __init__(self, presence: Callable[[MedImage, str], float], images: Readable) -> None:
        self._presence, self._images = presence, images
        self._chosen: dict[str, str | None] = {}
        self._sample: tuple[MedImage, ...] | None = None

    def shown(self, image: MedImage, prompt: str) -> MedImage:
        """An image in the window of a prompt."""
        if prompt not in self._chosen:
            self._chosen[prompt] = self._choice(image, prompt)
        return in_window(image, self._chosen[prompt] or FILE)

    def asking(self, ask: Ask) -> Ask:
        """The same question about what is shown; a note of the answer tells the window."""
        return lambda image, prompt, hints: self._noted(ask(self.shown(image, prompt), prompt, hints), image)

    def in_two_steps(self, steps: TwoSteps, first: str) -> TwoSteps:
        """The same of a stack whose evidence is settled; a slice keeps its encoding for the first prompt."""

        def draw(image: MedImage, prompt: str, weighed: Weighed | None) -> Segmentation:
            return self._noted(steps.draw(self.shown(image, prompt), prompt, weighed), image)

        return TwoSteps(
            weigh=lambda image, prompt: steps.weigh(self.shown(image, prompt), prompt),
            draw=draw,
            features_of=lambda image: steps.features_of(self.shown(image, first)),
            recall=lambda image, features: steps.recall(self.shown(image, first), features),
        )

    def _choice(self, image: MedImage, prompt: str) -> str | None:
        """The window of a prompt; None where there is no choice, or asking fails, as it will again."""
        if len(candidates(prompt)) == 1:
            return None
        try:
            sample = self._sampled(image)
            return self._best(sample, prompt) if sample else None
        except Exception:
            _log.warning("a window could not be chosen", exc_info=True)
            return None

    def _best(self, sample: Sequence[MedImage], prompt: str) -> str:
        """Others than the first are not tried where none can be clearly better."""
        first, *others = candidates(prompt)
        presence = {first: self._mean(sample, first, prompt)}
        if presence[first] + MARGIN <= 1:
            presence |= {each: self._mean(sample, each, prompt) for each in others}
        return best(presence)

    def _noted(self, answer: Segmentation, image: MedImage) -> Segmentation:
        """With a note on the window, of an image that could be shown in others."""
        window = self._chosen.get(answer.prompt) if image.values is not None else None
        return answer if window is None else replace(answer, notes=(*answer.notes, told(window)))

    def _mean(self, sample: Sequence[MedImage], window: str, prompt: str) -> float:
        """The presence over the sample."""
        return float(np.mean([self._presence(in_window(image, window), prompt) for image in sample]))

    def _sampled(self, image: MedImage) -> tuple[MedImage, ...]:
        """Images that can be shown in any window; empty of what is no CT in Hounsfield units."""
        if self._sample is None:
            coming = [image] if len(self._images) == 1 else map(self._images.read, _places(len(self._images)))
            self._sample = tuple(each for each in coming if is_hounsfield(each))
        return self._sample


def windows_for(segmenter: Segmenter, window: Window, images: Readable, hints: Hints = NO_HINTS) -> BestWindow | None:
    """The choice of windows for one scan; None where it is asked as it was read.

    Chosen is where a person asks for `auto`, or for no window of a method that can weigh evidence before it draws; but
    not where a person points at the place.
    """
    weighs = segmenter.info.weighs_first
    if hints or not (window == AUTO or (window is None and weighs)):
        return None
    return BestWindow(partial(_weighed if weighs else _answered, segmenter), images)


def _weighed(segmenter: Segmenter, image: MedImage, prompt: str) -> float:
    return cast(StackSegmenter, segmenter).weigh(image, prompt).cells.presence


def _answered(segmenter: Segmenter, image: MedImage, prompt: str) -> float:
    return segmenter.segment(image, prompt).presence or 0.0


def candidates(prompt: str) -> tuple[str, ...]:
    """The windows that are tried for a prompt, the first where none is better."""
    return (FILE, "lung") if OF_LUNGS.search(prompt) and not OF_VESSELS.search(prompt) else (FILE,)


def best(presence: Mapping[str, float]) -> str:
    """The window with the greatest presence; the first of them unless another is better by `MARGIN`."""
    first = next(iter(presence))
    greatest = max(presence, key=lambda window: presence[window])
    return greatest if presence[greatest] >= presence[first] + MARGIN else first


def in_window(image: MedImage, window: str) -> MedImage:
    """An image with values in Hounsfield units as a named window shows it; as it is for `file`."""
    if window == FILE or image.values is None:
        return image
    pixels, _ = as_rgb(between(image.values, *edges(NAMED_HU[window])))
    return replace(image, pixels=pixels)


def is_hounsfield(image: MedImage) -> bool:
    """Whether the values are in Hounsfield units: the file says so, or it is a volume whose black is air's."""
    if image.values is None or image.values_unit is not None:
        return image.values is not None and image.values_unit == "HU"
    least, most = AIR_HU
    return image.format in VOLUMES and least <= percentile_range(without_padding(image.values))[0] <= most


def told(window: str) -> str:
    """What a person reads of the window in which the model was asked."""
    if window == FILE:
        return "asked in the window that the file was read in: no other showed more of it"
    centre, width = NAMED_HU[window]
    return f"asked in the window {window} ({centre:g}, {width:g} HU), chosen by the model's presence"


def _places(count: int) -> Iterator[int]:
    """Some numbers below `count`, without the first and the last where there are others."""
    places = spread(count, SLICES + 2)
    yield from places[1:-1] or places
