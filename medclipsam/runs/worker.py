"""The work of one process on a folder: every case is brought to its records, isolated from all others.

    for each case:   kept? -> nothing
                     refused? -> old files away, record
                     else -> record "begun", old files away, masks and overlay (each by rename), record

    image 0    liver: mask    tumor: mask
    image 1    liver: mask    tumor: refused    ->   a record, and its files away
    image 2    liver: mask    tumor: -               not asked any more

Whatever goes wrong with a prompt is that prompt's record; what is wrong with the folder ends the run. Killed at any
moment and started again, it ends with the files of an unbroken run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, groupby
from time import perf_counter
from typing import NamedTuple, TypeVar, cast

import numpy as np

from medclipsam.errors import BadInput, UserError
from medclipsam.methods.contract import Segmenter, StackSegmenter, Weighed
from medclipsam.methods.prefetch import encoded_ahead
from medclipsam.runs.case import answer_case
from medclipsam.runs.cases import Case
from medclipsam.runs.layout import MEASUREMENTS, SHEET, remove
from medclipsam.runs.manifest import Key, ManifestFile, Record
from medclipsam.runs.outputs import PromptOutputs
from medclipsam.runs.pictures import Pictures
from medclipsam.runs.reading import Arrival, arrivals, spoken
from medclipsam.runs.request import LabelRequest, run_settings
from medclipsam.runs.resume import Earlier, manifest_path
from medclipsam.runs.sharing import Shard
from medclipsam.runs.windows import WindowChoice, choice_for
from medclipsam.types import FloatArray, Hints, MedImage, Segmentation
from medclipsam.volume.neighbours import Answered
from medclipsam.volume.rules import RULES
from medclipsam.volume.together import TwoSteps

MOST_FAILURES_IN_A_ROW = 5
"""Bugs of our own in a row; then it is not the case, and going on would only spoil the rest."""
Made = TypeVar("Made")
_log = logging.getLogger(__name__)


class Done(NamedTuple):
    """What became of one case."""

    records: tuple[Record, ...]
    """One for each prompt."""
    kept: int = 0
    """How many of them are those of an earlier run."""


class Worker:
    """The work of one process on one folder.

    Args:
        request: what is asked.
        segmenter: the models.
        part: whose records these are; the folder is claimed for it before `label` is called.
    """

    def __init__(self, request: LabelRequest, segmenter: Segmenter, part: Shard) -> None:
        self.request, self.segmenter = request, segmenter
        self.settings = run_settings(request, segmenter.info)
        self._part = part
        self._manifest: ManifestFile | None = None
        self._failures_in_a_row = 0

    def label(self, cases: Sequence[Case]) -> Iterator[Done]:
        """Bring every case to its records, one after the other, read and encoded ahead.

        Raises:
            BadInput: a manifest of an earlier run that cannot be read.
            CannotWrite: see `medclipsam.io.atomic`.
        """
        self._begin()
        arriving = arrivals(cases, self.request.reading, self._earlier, self._choice_for)
        with encoded_ahead(arriving, self._to_encode, self.segmenter, self.request.batch_size) as coming:
            for _, arrived in groupby(coming, key=lambda each: each.case.name):
                steps = iter(arrived)
                first = next(steps)
                if first.image is None or first.pictures is None:
                    yield Done((*first.kept, *self._refused(first)), kept=len(first.kept))
                    _drop(first)
                    continue
                run = CaseRun(self, first)
                try:
                    answer_case(
                        _images(first, steps),
                        first.pictures,
                        first.prompts,
                        run.ask,
                        run.keep,
                        rule=RULES["slices" if self.request.always else self.request.volume_mode],
                        takes_hints=self.segmenter.info.takes_hints,
                        in_two_steps=run.two_steps(),
                        choice=first.choice,
                    )
                except BadInput as error:
                    run.refuse(spoken(error, first.case.path))
                yield Done((*first.kept, *run.records()), kept=len(first.kept))
                _drop(first)

    def _choice_for(self, pictures: Pictures) -> WindowChoice | None:
        return choice_for(self.segmenter, self.request.reading.window, pictures)

    def _to_encode(self, arrived: Arrival) -> MedImage | None:
        """The image as it will be asked about for the first prompt."""
        if arrived.image is None or arrived.choice is None:
            return arrived.image
        return arrived.choice.shown(arrived.image, arrived.prompts[0])

    def close(self) -> None:
        """Close the manifest."""
        if self._manifest is not None:
            self._manifest.close()

    def append(self, record: Record) -> Record:
        """Write a record; a sheet and a table that no longer show what is there go first."""
        for name in (SHEET, MEASUREMENTS):
            (self.request.output / name).unlink(missing_ok=True)
        if self._manifest is not None:
            self._manifest.append(record)
        return record

    def clear(self, key: Key) -> None:
        """Take away what earlier runs left of a case and prompt."""
        remove(self.request.output, self._earlier.files(key))

    def count_failure(self, failed: bool) -> bool:
        """Count bugs of our own; whether so many came in a row that going on makes no sense."""
        self._failures_in_a_row = self._failures_in_a_row + 1 if failed else 0
        return self._failures_in_a_row >= MOST_FAILURES_IN_A_ROW

    def _begin(self) -> None:
        if self._manifest is None:
            self._earlier = Earlier(self.request.output, self.settings["config_sha256"], self.request.min_confidence)
            self._manifest = ManifestFile(manifest_path(self.request.output, self._part))

    def _refused(self, first: Arrival) -> list[Record]:
        if first.refusal is None:
            return []
        config = self.settings["config_sha256"]
        records = [
            first.case.record(
                prompt,
                config,
                status="refused",
                reason=first.refusal,
                input_sha256=first.sha256,
            )
            for prompt in first.prompts or (None,)
        ]
        for record in records:
            self.clear(record.key)
            self.append(record)
        return records


def _nothing(image: MedImage, prompt: str) -> Segmentation:
    none: FloatArray = np.zeros(image.size, np.float32)
    return Segmentation(prompt=prompt, mask=none > 0, probability=none, found=False)


class CaseRun:
    """The prompts of one case in a folder; one that fails takes no other with it.

    From its beginning the case's files are of this run or gone: a reader never takes an old mask for a new one.
    """

    def __init__(self, worker: Worker, first: Arrival) -> None:
        self._worker, self._case = worker, first.case
        self._going = {
            prompt: PromptOutputs(worker.request, first, prompt, worker.settings) for prompt in first.prompts
        }
        self._problems: list[Record] = []
        for output in self._going.values():
            worker.append(output.without_files("begun"))
            worker.clear((first.case.name, output.prompt))

    def ask(self, image: MedImage, prompt: str, hints: Hints) -> Segmentation:
        """What a prompt finds; nothing from where it failed on."""
        always = self._worker.request.always
        found = self._guarded(prompt, lambda: self._worker.segmenter.segment(image, prompt, hints=hints, always=always))
        return found or _nothing(image, prompt)

    def two_steps(self) -> TwoSteps | None:
        """The same in two steps, of a method that can."""
        if not self._worker.segmenter.info.weighs_first:
            return None
        segmenter = cast(StackSegmenter, self._worker.segmenter)

        def weigh(image: MedImage, prompt: str) -> Weighed | None:
            return self._guarded(prompt, lambda: segmenter.weigh(image, prompt))

        def draw(image: MedImage, prompt: str, weighed: Weighed | None) -> Segmentation:
            if weighed is None:
                return _nothing(image, prompt)
            return self._guarded(prompt, lambda: segmenter.draw(image, prompt, weighed)) or _nothing(image, prompt)

        return TwoSteps(weigh=weigh, draw=draw, features_of=segmenter.features_of, recall=segmenter.recall)

    def _guarded(self, prompt: str, work: Callable[[], Made]) -> Made | None:
        """What the method makes of an image; None from where the prompt failed on."""
        began = perf_counter()
        try:
            if prompt in self._going:
                made = work()
                self._worker.count_failure(False)
                self._going[prompt].seconds += perf_counter() - began
                return made
        except UserError as error:
            self._fail(prompt, self._going[prompt].without_files("refused", error.problem))
        except Exception as error:
            if self._worker.count_failure(True):
                raise
            _log.exception("%s, %r: failed", self._case.spoken, prompt)
            self._fail(prompt, self._going[prompt].without_files("failed", f"{type(error).__name__} in the method"))
        return None

    def keep(self, answered: Answered, index: int) -> None:
        """Write what belongs to one image, by its number in the file.

        Raises:
            BadInput: a mask that cannot be in one file with the others.
            CannotWrite: see `medclipsam.io.atomic`.
        """
        for result in answered.results:
            if result.prompt in self._going:
                began, output = perf_counter(), self._going[result.prompt]
                output.add(answered.image, index, result)
                output.seconds += perf_counter() - began

    def refuse(self, reason: str) -> None:
        """Nothing more of the case can be used."""
        for prompt, output in list(self._going.items()):
            self._fail(prompt, output.without_files("refused", reason))

    def records(self) -> list[Record]:
        """Those of the prompts that failed, then those of all others, whose last files are written.

        Raises:
            CannotWrite: see `medclipsam.io.atomic`.
        """
        return self._problems + [self._worker.append(output.record()) for output in self._going.values()]

    def _fail(self, prompt: str, problem: Record) -> None:
        remove(self._worker.request.output, self._going.pop(prompt).files)
        self._problems.append(self._worker.append(problem))


def _drop(first: Arrival) -> None:
    """A scan of an archive need not stay on this machine once it is recorded."""
    if first.case.remote:
        first.case.remote.drop()


def _images(first: Arrival, others: Iterator[Arrival]) -> Iterator[MedImage]:
    """The images of a case as they come.

    Raises:
        BadInput: the rest of it cannot be read.
    """
    for arrived in chain([first], others):
        if arrived.image is None or arrived.refusal is not None:
            raise BadInput(arrived.refusal or "it cannot be read")
        yield arrived.image
