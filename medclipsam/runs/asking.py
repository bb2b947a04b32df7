"""What do the prompts of one file come to? Each picture is asked all of them; one that fails takes no other with it.

picture 0    liver: mask    tumor: mask
picture 1    liver: mask    tumor: refused    ->   a record, and its files away
picture 2    liver: mask    tumor: -               not asked any more
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np

from medclipsam.errors import BadInput
from medclipsam.runs.arrivals import Arrival
from medclipsam.runs.manifest import Record
from medclipsam.runs.outputs import Answer
from medclipsam.types import NO_HINTS, FloatArray, Hints, MedImage, Segmentation
from medclipsam.volume.neighbours import Answered

Ask = Callable[[MedImage, Answer, Hints], Segmentation | Record]
"""What a prompt finds on a picture; a record of what was wrong where there is none."""


class Asking:
    """The prompts of one file.

    Args:
        answers: one for each prompt.
        ask: asks the method.
        give_up: takes away what was written of an answer, and keeps the record of what was wrong.
    """

    def __init__(self, answers: Sequence[Answer], ask: Ask, give_up: Callable[[Answer, Record], Record]) -> None:
        self._prompts = [answer.prompt for answer in answers]
        self._going = {answer.prompt: answer for answer in answers}
        self._ask, self._give_up = ask, give_up
        self.problems: list[Record] = []
        """Of the prompts that failed."""

    @property
    def answers(self) -> list[Answer]:
        """Those that did not."""
        return list(self._going.values())

    def answered(self, arrival: Arrival) -> Answered:
        """What each prompt finds on a picture alone.

        Raises:
            BadInput: there is no picture.
        """
        if arrival.image is None:
            raise BadInput(arrival.refusal or "it cannot be read")
        return Answered(arrival.image, [self.ask(arrival.image, prompt, NO_HINTS) for prompt in self._prompts])

    def ask(self, image: MedImage, prompt: str, hints: Hints) -> Segmentation:
        """What a prompt finds; nothing from where it failed on."""
        if prompt in self._going:
            found = self._ask(image, self._going[prompt], hints)
            if isinstance(found, Segmentation):
                return found
            self._fail(prompt, found)
        none: FloatArray = np.zeros(image.size, np.float32)
        return Segmentation(prompt=prompt, mask=none > 0, probability=none, found=False)

    def keep(self, decided: Answered, index: int) -> None:
        """Write what belongs to one picture, by its number in the file.

        Raises:
            BadInput: a mask that cannot be in one file with the others.
            CannotWrite: see `medclipsam.io.atomic`.
        """
        for result in decided.results:
            if result.prompt in self._going:
                began, answer = perf_counter(), self._going[result.prompt]
                answer.add(decided.image, index, result)
                answer.seconds += perf_counter() - began

    def refuse(self, reason: str) -> None:
        """Nothing more of the file can be used."""
        for prompt, answer in list(self._going.items()):
            self._fail(prompt, answer.without_files("refused", reason))

    def _fail(self, prompt: str, problem: Record) -> None:
        self.problems.append(self._give_up(self._going.pop(prompt), problem))
