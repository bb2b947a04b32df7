"""Answers about a stack as a whole: evidence of every slice first, then what the stack makes of it, then the masks.

    slices --weigh--> cells (128 x 128, in memory) --settle--> cells --draw--> answers
           \\--encode--> features (in a temporary file) ---------------^

Encodings wait on disk, so that no slice is encoded twice and memory does not grow with the stack: 4 MB a slice of a
model of Segment Anything, and none where the model was never taught the text. Pictures are read again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from medclipsam.methods.contract import Weighed
from medclipsam.types import FloatArray, MedImage, Segmentation
from medclipsam.volume.neighbours import Answered
from medclipsam.volume.settling import Settling, least_part_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TwoSteps:
    """How a stack is asked in two steps; see `medclipsam.methods.contract.StackSegmenter`."""

    weigh: Callable[[MedImage, str], Weighed | None]
    """None where the prompt failed on that image."""
    draw: Callable[[MedImage, str, Weighed | None], Segmentation]
    features_of: Callable[[MedImage], FloatArray]
    recall: Callable[[MedImage, FloatArray], None]


def answered_together(
    images: Iterable[MedImage],
    prompts: Sequence[str],
    places_mm: Sequence[float],
    ask: TwoSteps,
    again: Callable[[int], MedImage],
) -> Iterator[Answered]:
    """The slices with what each prompt finds on them once all of them were heard.

    Args:
        images: slices in the order of their places.
        prompts: asked of each slice.
        places_mm: where the slices lie along the stack.
        ask: the method.
        again: reads the picture of the slice that came as number k once more.
    """
    settlings = [Settling(places_mm, least_part=least_part_of(prompt)) for prompt in prompts]
    with TemporaryFile() as file:
        parked = Parked(file)
        for image in images:
            weighed = [ask.weigh(image, prompt) for prompt in prompts]
            for settling, each in zip(settlings, weighed, strict=True):
                settling.add(each)
            drawn = any(each is not None and each.doubt != "never_taught" for each in weighed)
            parked.add(ask.features_of(image) if drawn else None)
        for settling in settlings:
            settling.finish()
        for index in range(len(parked)):
            image, features = again(index), parked.get(index)
            if features is not None:
                ask.recall(image, features)
            pairs = zip(prompts, settlings, strict=True)
            yield Answered(image, [ask.draw(image, prompt, settling.settled(index)) for prompt, settling in pairs])


class Parked:
    """Arrays in a file, in the order in which they come; where the disk is full they are lost, and computed again."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._at: list[int | None] = []
        self._is_full = False

    def __len__(self) -> int:
        return len(self._at)

    def add(self, array: FloatArray | None) -> None:
        """Keep the next one; None takes its place and no room."""
        at = self._file.tell()
        if array is not None and not self._is_full:
            try:
                np.save(self._file, array, allow_pickle=False)
                self._file.flush()
            except OSError as error:
                self._is_full = True
                _log.warning("slices are encoded twice: no room for their encodings (%s)", error.strerror)
        self._at.append(None if array is None or self._is_full else at)

    def get(self, number: int) -> FloatArray | None:
        """The one that came as this number; None where there is none."""
        at = self._at[number]
        if at is None:
            return None
        self._file.seek(at)
        loaded: FloatArray = np.load(self._file, allow_pickle=False)
        return loaded
