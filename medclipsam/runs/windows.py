"""Chooses the display window in which a model is asked about lungs on a CT.

    3 slices of a CT, evenly spread --as read, lung--> presence of the prompt -> one window for all slices

A window for soft tissue shows lungs plain black: nothing of them is left to find. Every other prompt is asked in the
file's window: where the greatest presence of several windows decides, many more structures are found on the same slices
than in any window alone (the last table of `benchmarks/ct_windows.py`). Only values in Hounsfield units can be shown in
another window, so every other scan is asked as it was read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, cast

import numpy as np

from medclipsam.errors import UserError
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
from medclipsam.memory.latest import Latest
from medclipsam.methods.contract import Segmenter, StackSegmenter, Weighed
from medclipsam.types import NO_HINTS, Hints, MedImage, Segmentation
from medclipsam.volume.together import TwoSteps

Ask = Callable[[MedImage, str, Hints], Segmentation]
"""What a prompt finds on an image."""
OF_LUNGS = re.compile(r"\b(lungs?|pulmonary)\b", re.IGNORECASE)
"""Names lungs, or something of them."""
IN_LUNGS = re.compile(
    r"\b(arter\w*|vein\w*|vessel\w*|vascul\w*|trunk|valve\w*|circulation|embol\w*|lymph\w*|tumou?r\w*|cancer\w*|carcinoma\w*"
    r"|metasta\w*|nodul\w*|mass\w*|lesion\w*|infect\w*|infiltrat\w*|opacit\w*|consolidat\w*|cyst\w*|disease\w*)\b",
    re.IGNORECASE,
)
"""Names something in lungs or beside them. Which window shows that best is not measured, so the file's stays."""
SLICES = 3
"""Slices of a stack on which the choice is made."""
MARGIN = 0.05
"""How much more presence, of 1, makes another window than the file's better: less is chance."""
SHOWN = 2
"""Images that are remembered as they were shown last: a slice is weighed, kept and drawn in turn."""

_log = logging.getLogger(__name__)


class Readable(Protocol):
    """Images of a scan."""

    def __len__(self) -> int:
        """How many."""

    def read(self, number: int) -> MedImage:
        """The one of that number, from 0."""


class WindowChoice:
    """Shows the images of one CT in the window that suits a prompt, and every other scan as it was read.

    The thread that encodes ahead and the one that asks share it.

    Args:
        segmenter: its presence decides.
        images: of one scan; the window of a prompt is chosen once, when it is first shown.
    """

    def __init__(self, segmenter: StackSegmenter, images: Readable) -> None:
        self._segmenter, self._images = segmenter, images
        self._chosen: dict[str, str | None] = {}
        self._sample: tuple[MedImage, ...] | None = None
        self._shown: Latest[MedImage] = Latest()

    def shown(self, image: MedImage, prompt: str) -> MedImage:
        """An image in the window of a prompt."""
        if prompt not in self._chosen:
            self._chosen[prompt] = self._choice(image, prompt)
        window = self._chosen[prompt]
        if window is None or window == FILE:
            return image
        name = f"{image.digest} {window}"
        seen = self._shown.of([name]) or {name: in_window(image, window)}
        self._shown.keep(seen, SHOWN)
        return replace(image, pixels=seen[name].pixels)

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
        """The window of a prompt; None where there is no choice, or where asking fails, as it will again."""
        if len(candidates(prompt)) == 1:
            return None
        try:
            sample = self._sampled(image)
            return self._of_greatest_presence(sample, prompt) if sample else None
        except UserError:
            return None
        except Exception:
            _log.warning("a window could not be chosen", exc_info=True)
            return None

    def _of_greatest_presence(self, sample: Sequence[MedImage], prompt: str) -> str:
        """Others than the first are not tried where none can be clearly better."""
        first, *others = candidates(prompt)
        presence = {first: self._presence(sample, first, prompt)}
        if presence[first] + MARGIN <= 1:
            presence |= {each: self._presence(sample, each, prompt) for each in others}
        return best(presence)

    def _noted(self, answer: Segmentation, image: MedImage) -> Segmentation:
        """With a note on the window, of an image that could be shown in others."""
        window = self._chosen.get(answer.prompt) if image.values is not None else None
        return answer if window is None else replace(answer, notes=(*answer.notes, told(window)))

    def _presence(self, sample: Sequence[MedImage], window: str, prompt: str) -> float:
        """Its mean over the sample."""
        shown = (in_window(image, window) for image in sample)
        return float(np.mean([self._segmenter.weigh(image, prompt).cells.presence for image in shown]))

    def _sampled(self, image: MedImage) -> tuple[MedImage, ...]:
        """Images that can be shown in any window; empty of what is no CT in Hounsfield units."""
        if self._sample is None:
            coming = [image] if len(self._images) == 1 else map(self._images.read, _places(len(self._images)))
            self._sample = tuple(each for each in coming if is_hounsfield(each))
        return self._sample


def choice_for(segmenter: Segmenter, window: Window, images: Readable, hints: Hints = NO_HINTS) -> WindowChoice | None:
    """The choice of windows for one scan; None where it is asked as it was read.

    A choice is made where no window is given, or `auto`, by a method that can weigh evidence before it draws; but not
    where a person points at the place.
    """
    if hints or window not in (None, AUTO) or not segmenter.info.weighs_first:
        return None
    return WindowChoice(cast(StackSegmenter, segmenter), images)


def candidates(prompt: str) -> tuple[str, ...]:
    """The windows that are tried for a prompt, the first where none is better."""
    words = prompt.replace("_", " ")
    return (FILE, "lung") if OF_LUNGS.search(words) and not IN_LUNGS.search(words) else (FILE,)


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
        return "asked in the file's window: the one for lungs did not show clearly more"
    centre, width = NAMED_HU[window]
    return f"asked in the window {window} ({centre:g}, {width:g} HU), chosen by the model's presence"


def _places(count: int) -> Iterator[int]:
    """Some numbers below `count`, without the first and the last where there are others."""
    places = spread(count, SLICES + 2)
    yield from places[1:-1] or places
