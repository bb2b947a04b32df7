"""How is a folder labelled? File by file, read ahead, each case isolated and recorded; then the results are joined.

    for each file:   kept? -> nothing
                     refused? -> old files away, record
                     else -> record "begun", old files away, masks and overlay (each by rename), record

Killed at any moment and started again, it ends with the files of an unbroken run. Whatever goes wrong with one case is
that case's record; what goes wrong with the folder ends the run, and what is done is kept.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from time import perf_counter

from medclipsam.batch.ahead import ahead
from medclipsam.batch.answer import Answer
from medclipsam.batch.arrivals import Arrival, arrivals
from medclipsam.batch.cases import Case, find_cases
from medclipsam.batch.claim import alone, claimed
from medclipsam.batch.earlier import Earlier, manifest_path, shard_manifests
from medclipsam.batch.manifest import GO_ON, READ, Key, ManifestFile, Record, read_manifest, write_manifest
from medclipsam.batch.request import LabelRequest, run_settings
from medclipsam.batch.sheet import write_sheet
from medclipsam.batch.tree import MANIFEST, SETTINGS, SHEET, remove, tidy
from medclipsam.errors import CannotWrite, UserError
from medclipsam.io.atomic import write_atomic
from medclipsam.io.staging import check_folder
from medclipsam.methods.contract import Segmenter
from medclipsam.report import to_json

MOST_FAILURES_IN_A_ROW = 5
"""Of our own bugs; then it is not the case, and going on would only spoil the rest."""
Tell = Callable[[str, int, int], None]
"""Called with the stage, how much of it is done, and how much there is (0: not known)."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What became of the cases of one run."""

    total: int
    counts: Mapping[str, int]
    """By status."""
    kept: int
    """How many were done already."""
    seconds: float
    joined: bool
    """Whether the folder is complete; False for a shard while others are not done."""

    @property
    def read(self) -> int:
        """How many files and prompts were answered."""
        return sum(self.counts.get(status, 0) for status in READ)


def label_folder(request: LabelRequest, load: Callable[[], Segmenter], tell: Tell) -> Summary:
    """Segment every case of a folder, and write masks, overlays, `manifest.jsonl`, `run.json` and `index.html`.

    Args:
        request: what is asked.
        load: gives the segmenter; called once, after the folders were found good.
        tell: hears of the progress.

    Raises:
        BadInput: a source, table or prompt that cannot be used, or a folder that belongs to something else.
        CannotWrite: the folder is lost, full or in use; what is done is kept.
    """
    began = perf_counter()
    tell("looking for images", 0, 0)
    cases = find_cases(request.source, request.prompts, request.table, passed_over=request.output)
    check_folder(request.output)
    read_manifest(request.output / MANIFEST)
    tell("loading models", 0, 0)
    segmenter = load()
    with claimed(request.output, request.shard), _going_on_later(request.output):
        run = _Run(request, segmenter, tell)
        run.label([case for case in cases if request.shard.holds(case.name)])
        joined = run.join(cases)
    return Summary(
        total=len(run.records),
        counts=dict(Counter(record.status for record in run.records.values())),
        kept=run.kept,
        seconds=perf_counter() - began,
        joined=joined,
    )


class _Run:
    """One run over one folder."""

    def __init__(self, request: LabelRequest, segmenter: Segmenter, tell: Tell) -> None:
        self._request = request
        self._segmenter = segmenter
        self._tell = tell
        self._settings = run_settings(request, segmenter.describe())
        self._config: str = self._settings["config_sha256"]
        self._earlier = self._look_back()
        self._failures_in_a_row = 0
        self.records: dict[Key, Record] = {}
        self.kept = 0

    def label(self, cases: Sequence[Case]) -> None:
        """Bring every case to a record."""
        folder, total = self._request.output, sum(max(1, len(case.prompts)) for case in cases)
        write_atomic(folder / SETTINGS, to_json(self._settings) + "\n")
        self._tell("labelling", 0, total)
        coming = ahead(arrivals(cases, self._earlier, self._request.reading))
        with ManifestFile(manifest_path(folder, self._request.shard)) as manifest, closing(coming):
            for _, arrived in groupby(coming, key=lambda each: each.case.name):
                self._file(arrived, manifest)
                self._tell("labelling", len(self.records), total)

    def join(self, cases: Sequence[Case]) -> bool:
        """Bring the folder into its final order, if every case of every shard is recorded; whether it was."""
        with alone(self._request.output, self._request.shard) as is_alone:
            if not is_alone:
                return False
            if not self._request.shard.is_whole:
                self._earlier = self._look_back()
            final = {key: self.records.get(key) or self._earlier.final(key) for case in cases for key in _keys(case)}
            records = [record for record in final.values() if record]
            if len(records) < len(final):
                return False
            self._write_joined(records)
            return True

    def _write_joined(self, records: Sequence[Record]) -> None:
        folder = self._request.output
        self._tell("joining the results", 0, 0)
        remove(folder, self._earlier.stale_files(records))
        tidy(folder)
        write_manifest(folder / MANIFEST, records)
        for path in shard_manifests(folder):
            path.unlink()
        write_sheet(folder / SHEET, records, self._settings)

    def _look_back(self) -> Earlier:
        return Earlier(self._request.output, self._config, self._request.min_confidence)

    def _file(self, arrived: Iterator[Arrival], manifest: ManifestFile) -> None:
        first = next(arrived)
        self.records |= {record.key: record for record in first.kept}
        self.kept += len(first.kept)
        if first.refusal is not None:
            self._refuse(first, manifest)
        elif first.image is not None:
            self._segment(first, arrived, manifest)

    def _refuse(self, first: Arrival, manifest: ManifestFile) -> None:
        for prompt in first.prompts or (None,):
            record = Record(
                case=first.case.name,
                prompt=prompt,
                status="refused",
                reason=first.refusal,
                input_sha256=first.sha256,
                config_sha256=self._config,
            )
            self._clear(record.key)
            self._end(record, manifest)

    def _segment(self, first: Arrival, others: Iterator[Arrival], manifest: ManifestFile) -> None:
        """All pictures of one file, each asked every prompt while its encoding is remembered."""
        answers = {prompt: self._begin(first, prompt, manifest) for prompt in first.prompts}
        for arrival in chain([first], others):
            for prompt, answer in list(answers.items()):
                problem = self._take(arrival, answer)
                if problem is not None:
                    remove(self._request.output, answers.pop(prompt).files)
                    self._end(problem, manifest)
        for answer in answers.values():
            self._end(answer.record(), manifest)

    def _begin(self, first: Arrival, prompt: str, manifest: ManifestFile) -> Answer:
        """From here on the case's files are of this run or gone: a reader never takes an old mask for a new one."""
        answer = Answer(self._request, first, prompt, self._config, self._settings["preset"]["name"])
        self._append(answer.without_files("begun"), manifest)
        self._clear((first.case.name, prompt))
        return answer

    def _take(self, arrival: Arrival, answer: Answer) -> Record | None:
        """Segment one picture and keep the result; a record of what was wrong where there is none."""
        if arrival.image is None:
            return answer.without_files("refused", arrival.refusal)
        began = perf_counter()
        try:
            result = self._segmenter.segment(arrival.image, answer.prompt, always=self._request.always)
        except UserError as error:
            return answer.without_files("refused", error.problem)
        except Exception as error:
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= MOST_FAILURES_IN_A_ROW:
                raise
            _log.exception("%s, %r: failed", arrival.case.name, answer.prompt)
            return answer.without_files("failed", f"{type(error).__name__} in the method")
        self._failures_in_a_row = 0
        answer.add(arrival.image, arrival.index, result)
        answer.seconds += perf_counter() - began
        return None

    def _clear(self, key: Key) -> None:
        remove(self._request.output, self._earlier.files(key))

    def _append(self, record: Record, manifest: ManifestFile) -> None:
        """A sheet that no longer shows what is there goes first."""
        (self._request.output / SHEET).unlink(missing_ok=True)
        manifest.append(record)

    def _end(self, record: Record, manifest: ManifestFile) -> None:
        self._append(record, manifest)
        self.records[record.key] = record


@contextmanager
def _going_on_later(folder: Path) -> Iterator[None]:
    """Whatever is wrong with the folder, what is done is kept."""
    try:
        yield
    except CannotWrite as error:
        raise CannotWrite(error.problem, GO_ON) from error
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be written ({error.strerror or type(error).__name__})", GO_ON) from error


def _keys(case: Case) -> list[Key]:
    return [(case.name, prompt) for prompt in case.prompts or (None,)]
