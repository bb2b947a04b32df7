"""How do files become masks and records? One after the other, read ahead, each case isolated.

    for each file:   kept? -> nothing
                     refused? -> old files away, record
                     else -> record "begun", old files away, masks and overlay (each by rename), record

Slices of a stack are decided on together (`medclipsam.volume`), as `medclipsam segment` does.

Killed at any moment and started again, it ends with the files of an unbroken run. Whatever goes wrong with one case is
that case's record; what goes wrong with the folder ends the run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby
from operator import attrgetter
from time import perf_counter
from typing import Any, NamedTuple

from medclipsam.errors import BadInput, UserError
from medclipsam.methods.contract import Segmenter
from medclipsam.methods.prefetch import encoded_ahead
from medclipsam.runs.arrivals import Arrival, arrivals, spoken
from medclipsam.runs.asking import Asking
from medclipsam.runs.cases import Case
from medclipsam.runs.layout import SHEET, remove
from medclipsam.runs.manifest import Key, ManifestFile, Record
from medclipsam.runs.outputs import Answer
from medclipsam.runs.request import LabelRequest
from medclipsam.runs.resume import Earlier
from medclipsam.types import Hints, MedImage, Segmentation
from medclipsam.volume.decision import decide
from medclipsam.volume.neighbours import Answered
from medclipsam.volume.rules import RULES, VolumeRule

MOST_FAILURES_IN_A_ROW = 5
"""Of our own bugs; then it is not the case, and going on would only spoil the rest."""
_log = logging.getLogger(__name__)


class Done(NamedTuple):
    """What became of one file."""

    records: tuple[Record, ...]
    """One for each prompt."""
    kept: int = 0
    """How many of them are those of an earlier run."""


class Labeller:
    """The work of one process on one folder.

    Args:
        request: what is asked.
        segmenter: the models.
        settings: those of `run.json`.
        manifest: where the records go.

    Raises:
        BadInput: a manifest of an earlier run that cannot be read.
    """

    def __init__(
        self, request: LabelRequest, segmenter: Segmenter, settings: Mapping[str, Any], manifest: ManifestFile
    ) -> None:
        self._request = request
        self._segmenter = segmenter
        self._config: str = settings["config_sha256"]
        self._preset: str = settings["preset"]["name"]
        self._manifest = manifest
        self._earlier = Earlier(request.output, self._config, request.min_confidence)
        self._failures_in_a_row = 0

    def label(self, cases: Sequence[Case]) -> Iterator[Done]:
        """Bring every case to its records, file by file.

        Raises:
            CannotWrite: see `medclipsam.io.atomic`.
        """
        arriving = arrivals(cases, self._earlier, self._request.reading)
        most = self._request.batch_size
        with encoded_ahead(arriving, attrgetter("image"), self._segmenter, most) as coming:
            for _, arrived in groupby(coming, key=lambda each: each.case.name):
                yield self._file(arrived)

    def _file(self, arrived: Iterator[Arrival]) -> Done:
        first = next(arrived)
        records: list[Record] = []
        if first.refusal is not None:
            records = self._refuse(first)
        elif first.image is not None:
            records = self._segment(first, arrived)
        return Done((*first.kept, *records), kept=len(first.kept))

    def _refuse(self, first: Arrival) -> list[Record]:
        records = [
            Record(
                case=first.case.name,
                prompt=prompt,
                status="refused",
                reason=first.refusal,
                input_sha256=first.sha256,
                config_sha256=self._config,
            )
            for prompt in first.prompts or (None,)
        ]
        for record in records:
            self._clear(record.key)
            self._append(record)
        return records

    def _segment(self, first: Arrival, others: Iterator[Arrival]) -> list[Record]:
        """All pictures of one file, each asked every prompt while its encoding is remembered; of slices, decided on
        as a stack."""
        answers = [self._begin(first, prompt) for prompt in first.prompts]
        asking = Asking(answers, self._ask, self._give_up)
        slices = map(asking.answered, chain([first], others))
        try:
            for index, decided in enumerate(self._decided(slices, first, asking)):
                asking.keep(decided, index)
        except BadInput as error:
            asking.refuse(spoken(error, first.case.path))
        return asking.problems + [self._append(answer.record()) for answer in asking.answers]

    def _decided(self, slices: Iterator[Answered], first: Arrival, asking: Asking) -> Iterator[Answered]:
        ask = asking.ask if self._segmenter.info.takes_hints else None
        return decide(slices, first.places_mm, self._rule, ask=ask, again=first.again or _never)

    @property
    def _rule(self) -> VolumeRule:
        """What is wanted always no neighbour may take away."""
        return RULES["slices" if self._request.always else self._request.volume_mode]

    def _begin(self, first: Arrival, prompt: str) -> Answer:
        """From here on the case's files are of this run or gone: a reader never takes an old mask for a new one."""
        answer = Answer(self._request, first, prompt, self._config, self._preset)
        self._append(answer.without_files("begun"))
        self._clear((first.case.name, prompt))
        return answer

    def _ask(self, image: MedImage, answer: Answer, hints: Hints) -> Segmentation | Record:
        """What a prompt finds on a picture; a record of what was wrong where there is none."""
        began = perf_counter()
        try:
            result = self._segmenter.segment(image, answer.prompt, hints=hints, always=self._request.always)
        except UserError as error:
            return answer.without_files("refused", error.problem)
        except Exception as error:
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= MOST_FAILURES_IN_A_ROW:
                raise
            _log.exception("%s, %r: failed", image.name, answer.prompt)
            return answer.without_files("failed", f"{type(error).__name__} in the method")
        self._failures_in_a_row = 0
        answer.seconds += perf_counter() - began
        return result

    def _give_up(self, answer: Answer, problem: Record) -> Record:
        remove(self._request.output, answer.files)
        return self._append(problem)

    def _clear(self, key: Key) -> None:
        remove(self._request.output, self._earlier.files(key))

    def _append(self, record: Record) -> Record:
        """A sheet that no longer shows what is there goes first."""
        (self._request.output / SHEET).unlink(missing_ok=True)
        self._manifest.append(record)
        return record


def _never(index: int) -> MedImage:
    raise ValueError(f"there is no picture {index}")
