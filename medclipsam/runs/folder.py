"""Segments a folder: a team brings its cases to records; when all are recorded, the results are joined.

cases -> (this shard's) -> team -> records -> stale files away, manifest.jsonl sorted, index.html, measurements.csv

What is wrong with the folder ends the run, and what is done is kept.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from time import perf_counter

from medclipsam.errors import CannotWrite
from medclipsam.io.atomic import check_folder, write_atomic
from medclipsam.report import to_json
from medclipsam.runs.cases import Case, find_cases
from medclipsam.runs.layout import DOUBTFUL, MANIFEST, MASKS, MEASUREMENTS, SETTINGS, SHEET, remove, tidy
from medclipsam.runs.local import Engine, Load, in_this_process
from medclipsam.runs.manifest import GO_ON, READ, Key, Record, read_manifest, write_manifest
from medclipsam.runs.measurement_table import write_measurements
from medclipsam.runs.progress import EXPECTED, expect
from medclipsam.runs.remote_folder import Storing, remote_cases
from medclipsam.runs.request import LabelRequest, RunSettings
from medclipsam.runs.resume import Earlier, shard_manifests
from medclipsam.runs.sharing import alone, claimed
from medclipsam.runs.sheet import write_sheet
from medclipsam.runs.worker import Done
from medclipsam.types import Progress
from medclipsam.words import check_prompts

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
    stored: Mapping[str, int] | None = None
    """What became of the objects that an archive was to store: stored, there already, refused; None: none was."""

    @property
    def read(self) -> int:
        """How many files and prompts were answered."""
        return sum(self.counts.get(status, 0) for status in READ)


def label_folder(request: LabelRequest, load: Load, tell: Progress, engine: Engine = in_this_process) -> Summary:
    """Segment every case of a folder, and write masks, overlays, `manifest.jsonl`, `run.json` and `index.html`.

    Args:
        request: what is asked.
        load: gives the segmenter; called once by each worker, after the folders were found good.
        tell: hears of the progress.
        engine: who does the work; the results are the same.

    Raises:
        BadInput: a source, table or prompt that cannot be used, or a folder that belongs to something else.
        CannotWrite: the folder is lost, full or in use; what is done is kept.
    """
    began = perf_counter()
    tell("looking for images", 0, 0)
    with _cases(request) as cases:
        check_folder(request.output)
        read_manifest(request.output / MANIFEST)
        tell("loading models", 0, 0)
        with engine(request, load) as team, claimed(request.output, request.shard), _going_on_later(request.output):
            run = _Run(request, team.settings, tell)
            for done in team.label(run.begin(cases)):
                run.take(done)
            joined = run.join(cases)
    if not any(map(_is_seg, chain.from_iterable(record.outputs for record in run.records.values()))):
        for told in request.seg.unused:
            _log.warning("%s", told)
    return Summary(
        total=len(run.records),
        counts=dict(Counter(record.status for record in run.records.values())),
        kept=run.kept,
        seconds=perf_counter() - began,
        joined=joined,
        stored={**run.storing.counts} if run.storing else None,
    )


def _is_seg(output: str) -> bool:
    return output.startswith((f"{MASKS}/", f"{DOUBTFUL}/")) and output.endswith(".dcm") and ".rtstruct." not in output


def _cases(request: LabelRequest) -> AbstractContextManager[list[Case]]:
    """The scans of a run; those of an archive are there as long as the block."""
    if request.remote:
        return remote_cases(request.remote, check_prompts(request.prompts), safe_names=request.safe_names)
    return nullcontext(_cases_of_files(request))


def _cases_of_files(request: LabelRequest) -> list[Case]:
    return find_cases(
        request.source,
        request.prompts,
        request.table,
        passed_over=request.output,
        safe_names=request.safe_names,
        masks_too=request.masks_too,
    )


class _Run:
    """What one run over one folder has come to."""

    def __init__(self, request: LabelRequest, settings: RunSettings, tell: Progress) -> None:
        self._request = request
        self._settings = settings
        self._tell = tell
        self._total = 0
        self.records: dict[Key, Record] = {}
        self.kept = 0
        self.storing = Storing(request.remote, request.output) if request.remote and request.remote.store else None

    def begin(self, cases: Sequence[Case]) -> list[Case]:
        """Write the settings; the cases that are this shard's."""
        write_atomic(self._request.output / SETTINGS, to_json(self._settings) + "\n")
        expect(self._request.output, sum(len(_keys(case)) for case in cases))
        mine = [case for case in cases if self._request.shard.holds(case.name)]
        self._total = sum(len(_keys(case)) for case in mine)
        self._tell("labelling", 0, self._total)
        return mine

    def take(self, done: Done) -> None:
        """Count what became of one case."""
        self.records |= {record.key: record for record in done.records}
        self.kept += done.kept
        if self.storing:
            self.storing.take(done.records)
        self._tell("labelling", len(self.records), self._total)

    def join(self, cases: Sequence[Case]) -> bool:
        """Bring the folder into its final order, if every case of every shard is recorded; whether it was."""
        with alone(self._request.output, self._request.shard) as is_alone:
            if not is_alone:
                return False
            earlier = Earlier(self._request.output, self._settings["config_sha256"], self._request.min_confidence)
            final = {key: self.records.get(key) or earlier.final(key) for case in cases for key in _keys(case)}
            records = [record for record in final.values() if record]
            if len(records) < len(final):
                return False
            self._tell("joining the results", 0, 0)
            remove(self._request.output, earlier.stale_files(records))
            self._write_joined(records)
            return True

    def _write_joined(self, records: Sequence[Record]) -> None:
        folder = self._request.output
        tidy(folder)
        write_manifest(folder / MANIFEST, records)
        for path in (*shard_manifests(folder), folder / EXPECTED):
            path.unlink(missing_ok=True)
        write_sheet(folder / SHEET, records, self._settings)
        write_measurements(folder / MEASUREMENTS, read_manifest(folder / MANIFEST).values())


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
