"""Who does the work: this process, or a team of workers? A run hands its cases out and gets records back, in any order.

run --cases--> team --Done, Done, ...--> run (counts, joins)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from medclipsam.methods.contract import Segmenter
from medclipsam.runs.case import Done, Labeller
from medclipsam.runs.cases import Case
from medclipsam.runs.manifest import ManifestFile
from medclipsam.runs.request import LabelRequest, run_settings
from medclipsam.runs.resume import manifest_path

Load = Callable[[], Segmenter]


class Team(Protocol):
    """One or many with their models loaded."""

    settings: dict[str, Any]
    """Those of `run.json`; the same for everyone in the team."""

    def label(self, cases: Sequence[Case]) -> Iterator[Done]:
        """Bring every case to its records; called once, while the folder is claimed."""


Engine = Callable[[LabelRequest, Load], AbstractContextManager[Team]]
"""Gathers a team for the length of a block."""


@contextmanager
def in_this_process(request: LabelRequest, load: Load) -> Iterator[Team]:
    """The team of one that needs nothing else."""
    yield _Alone(request, load())


class _Alone:
    def __init__(self, request: LabelRequest, segmenter: Segmenter) -> None:
        self._request = request
        self._segmenter = segmenter
        self.settings = run_settings(request, segmenter.info)

    def label(self, cases: Sequence[Case]) -> Iterator[Done]:
        with ManifestFile(manifest_path(self._request.output, self._request.shard)) as manifest:
            yield from Labeller(self._request, self._segmenter, self.settings, manifest).label(cases)
