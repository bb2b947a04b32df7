"""Says who does the work of a run: this process, or a team of workers.

run --cases--> team --Done, Done, ...--> run (counts, joins)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from medclipsam.methods.contract import Segmenter
from medclipsam.runs.cases import Case
from medclipsam.runs.request import LabelRequest, RunSettings
from medclipsam.runs.worker import Done, Worker

Load = Callable[[], Segmenter]


class Team(Protocol):
    """One or many with their models loaded; each holds the folder while it works."""

    settings: RunSettings
    """Those of `run.json`; the same for everyone in the team."""

    def label(self, cases: Sequence[Case]) -> Iterator[Done]:
        """Bring every case to its records; called once, while the folder is claimed."""


Engine = Callable[[LabelRequest, Load], AbstractContextManager[Team]]
"""Gathers a team for the length of a block."""


@contextmanager
def in_this_process(request: LabelRequest, load: Load) -> Iterator[Team]:
    """The team of one that needs nothing else."""
    worker = Worker(request, load(), request.shard)
    try:
        yield worker
    finally:
        worker.close()
