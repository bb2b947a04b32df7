"""Segments what a query finds in an archive as if it were a folder, and stores the DICOM results where wanted.

    query -> series -> cases (fetched when they are read, dropped when they are recorded)
    records -> masks/, reports/ in DICOM -> archive, and a line for each in stored.jsonl

An object is stored once: its identifier comes from its content, and the archive is asked whether it has it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from medclipsam.errors import BadInput
from medclipsam.pacs.address import Address, Query
from medclipsam.runs.cases import Case
from medclipsam.runs.layout import MASKS, REPORTS, STORED
from medclipsam.runs.manifest import Record
from medclipsam.runs.remote_scan import TEMPORARY

Outcome = Literal["stored", "there", "refused"]


@dataclass(frozen=True, kw_only=True)
class RemoteSource:
    """What is segmented of an archive."""

    address: Address
    query: Query
    store: bool = False
    """Store DICOM SEG and SR in the archive."""


@contextmanager
def remote_cases(source: RemoteSource, prompts: Sequence[str], *, safe_names: bool) -> Iterator[list[Case]]:
    """The scans that a query finds, sorted by their names; what was fetched of them is gone when the block ends.

    Raises:
        BadInput: nothing is found.
        NoServer, MissingExtra: see `medclipsam.pacs.archive.Archive`.
    """
    from medclipsam.pacs.archive import Archive  # noqa: PLC0415
    from medclipsam.pacs.fetching import remote_scans  # noqa: PLC0415

    archive = Archive(source.address)
    with TemporaryDirectory(prefix=TEMPORARY) as temporary:
        found = [
            scan
            for series in archive.series_by(source.query)
            for scan in remote_scans(archive, series, Path(temporary))
        ]
        yield [
            Case(
                name=scan.name,
                path=scan.path,
                prompts=tuple(prompts),
                file=None if safe_names else scan.place,
                stem=scan.name,
                remote=scan,
            )
            for scan in sorted(found, key=lambda scan: scan.name)
        ]


class Storing:
    """Stores the DICOM results of records, each once, and notes what became of it.

    Args:
        source: where they go.
        folder: of the run.
    """

    def __init__(self, source: RemoteSource, folder: Path) -> None:
        from medclipsam.pacs.archive import Archive  # noqa: PLC0415

        self._archive, self._folder = Archive(source.address), folder
        self._known = dict(_known(folder / STORED))
        self.counts: Counter[str] = Counter()
        """What became of the objects of this run."""

    def take(self, records: Iterable[Record]) -> None:
        """Store the DICOM results of records, which are written.

        Raises:
            NoServer: see `medclipsam.pacs.archive.Archive`; the rest is stored when the command runs again.
        """
        for record in records:
            for name, digest in record.outputs.items():
                if name.endswith(".dcm") and name.startswith((f"{MASKS}/", f"{REPORTS}/")):
                    self._store(name, digest)

    def _store(self, name: str, digest: str) -> None:
        if self._known.get(name) == digest:
            self.counts["there"] += 1
            return
        reason = None
        try:
            outcome: Outcome = "stored" if self._archive.store(self._folder / name) else "there"
        except BadInput as error:
            outcome, reason = "refused", error.problem
        self.counts[outcome] += 1
        _note(self._folder / STORED, {"file": name, "sha256": digest, "status": outcome, "reason": reason})


def _known(path: Path) -> Iterator[tuple[str, str]]:
    """(file, hash) of what earlier runs stored; a last line that a crash cut off is none."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            noted = json.loads(line)
            if noted["status"] != "refused":
                yield str(noted["file"]), str(noted["sha256"])
        except (ValueError, KeyError, TypeError):
            continue


def _note(path: Path, line: dict[str, str | None]) -> None:
    """Append a line, on disk when this returns; what a crash left of a line is ended first."""
    with path.open("a+b") as file:
        file.seek(max(file.tell() - 1, 0))
        broken = file.read(1) not in (b"", b"\n")
        file.write(b"\n" * broken + json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
