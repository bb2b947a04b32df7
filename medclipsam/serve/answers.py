"""Holds what the server knows: the loaded method, the scans, the answers, and the queue before the method.

One answer is one run of `medclipsam.runs.one_scan.segment_scan`, the walk of the command line, into its own folder.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from filelock import FileLock, Timeout

from medclipsam.errors import BadInput
from medclipsam.io.naming import case_name
from medclipsam.methods.contract import Segmenter
from medclipsam.runs.one_scan import segment_scan
from medclipsam.serve.asking import Ask, Reading
from medclipsam.serve.kept import Kept
from medclipsam.serve.scans import Scan, Sent, below, describe, spoken_of, take
from medclipsam.serve.waiting import Stop, Waiting

PREFIX = "medclipsam-serve-"
LOCK = "lock"
MOST_SCANS, MOST_ANSWERS = 256, 512


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a server takes on."""

    queue: int = 8
    """Requests that may wait or be worked on together."""
    upload_bytes: int = 2**30
    """Longest upload."""
    kept_bytes: int = 8 * 2**30
    """How much of the disk scans take, and answers as much again."""
    scan_s: float = 3600.0
    """How long a scan is kept without use."""
    answer_s: float = 1800.0
    """How long an answer is kept without use."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A scan that is kept."""

    id: str
    told: dict[str, Any]
    """What a page needs to show it."""
    is_new: bool
    """Whether it was not kept before."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one request came to."""

    id: str
    scan: str
    folder: Path
    report: dict[str, Any]
    files: tuple[str, ...] = field(default=())
    """Names of what was written."""


class Answers:
    """Scans in, answers out, on one loaded method.

    Args:
        load: loads the method; called once, when it is first needed or `warm` is called.
        seed: the seed that it is loaded with.
        folders: where paths may lie.
        limits: see `Limits`.
    """

    def __init__(
        self,
        load: Callable[[], Segmenter],
        *,
        seed: int = 0,
        folders: Sequence[Path] = (),
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.folders = tuple(folders)
        self._seed, self._load = seed, load
        self._loaded: Segmenter | None = None
        self._loading = Lock()
        self.root, self._lock = _own_folder()
        self.scans: Kept[Scan] = Kept(most=MOST_SCANS, most_bytes=self.limits.kept_bytes, seconds=self.limits.scan_s)
        self.answers: Kept[Answer] = Kept(
            most=MOST_ANSWERS, most_bytes=self.limits.kept_bytes, seconds=self.limits.answer_s
        )
        self.waiting = Waiting(self.limits.queue)

    def segmenter(self) -> Segmenter:
        """The loaded method.

        Raises:
            UserError: it cannot be loaded.
        """
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def take(self, files: Sequence[Sent], reading: Reading, case: str | None = None) -> Taken:
        """Keep a scan that was sent.

        Raises:
            BadInput: it cannot be used; nothing of it is kept.
        """
        key, scan, folder = take(files, self.root, case)
        try:
            told = describe(scan, reading.options())
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Taken(id=key, told=told, is_new=self.scans.add(key, scan, folder))

    def take_path(self, wanted: str, reading: Reading, case: str | None = None) -> Taken:
        """The same for a path below one of the folders.

        Raises:
            BadInput: it lies elsewhere, is not there, or cannot be used.
        """
        key, scan = self._of_path(wanted, case)
        told = describe(scan, reading.options())
        return Taken(id=key, told=told, is_new=self.scans.add(key, scan))

    def answer(self, key: str, ask: Ask, stop: Stop) -> Answer:
        """Segment a scan that is kept, and keep the answer; called in the thread of the queue.

        Raises:
            KeyError: the scan is not kept, or no more.
            BadInput, CannotWrite: see `segment_scan`.
            GivenUp: nobody waits for the answer any more.
        """
        name = secrets.token_hex(16)
        answer = self.written(key, ask, stop, self.root / f"answer-{name}", name)
        self.answers.add(name, answer, answer.folder)
        return answer

    def written(self, key: str, ask: Ask, stop: Stop, folder: Path, name: str = "") -> Answer:
        """Segment a scan that is kept into a folder of the asker's; called in the thread of the queue.

        Raises:
            KeyError, BadInput, CannotWrite, GivenUp: see `answer`.
        """

        def tell(stage: str, done: int = 0, total: int = 0) -> None:
            stop.check()

        with self.scans.use(key) as scan, spoken_of(scan):
            unit = scan.source(ask.options()).unit if ask.image is not None else ""
            request = ask.request(scan.path, scan.case, folder, unit=unit, seed=self._seed)
            stop.check()
            report = segment_scan(request, self.segmenter, tell)
        files = tuple(sorted(path.name for path in folder.iterdir()))
        return Answer(id=name, scan=key, folder=folder, report=report, files=files)

    def scan_of(self, ask: Ask) -> str:
        """The id of the scan that is asked about; one that is named by its path is kept from now on.

        Raises:
            KeyError: the scan is not kept, or no more.
            BadInput: neither an id nor a path, both, or a path that lies elsewhere.
        """
        if (ask.scan is None) == (ask.path is None):
            raise BadInput("a request names a scan that was sent, or a path", "give one of scan and path")
        if ask.path is not None:
            key, scan = self._of_path(ask.path, ask.case)
            self.scans.add(key, scan)
            return key
        with self.scans.use(str(ask.scan)):
            return str(ask.scan)

    def case_of(self, key: str) -> str:
        """What the results of a scan are called.

        Raises:
            KeyError: the scan is not kept, or no more.
        """
        with self.scans.use(key) as scan:
            return scan.case

    def close(self, seconds: float = 1.0) -> bool:
        """Give up what is asked, and leave no file; whether all work came to rest in that time."""
        rested = self.waiting.close(seconds)
        self._lock.release()
        while self.root.exists():
            shutil.rmtree(self.root, ignore_errors=True)
        return rested

    def _of_path(self, wanted: str, case: str | None) -> tuple[str, Scan]:
        path = below(self.folders, wanted)
        return _path_id(path), Scan(path=path, case=case or case_name(path))


def _path_id(path: Path) -> str:
    """What tells a path, and the state of what lies there, from others."""
    state = path.stat()
    return hashlib.sha256(f"{path} {state.st_mtime_ns} {state.st_size}".encode("utf-8", "surrogateescape")).hexdigest()


def _own_folder() -> tuple[Path, FileLock]:
    """A private folder that is held while this process lives; those of processes that were killed are removed."""
    _tidy(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))
    root = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = FileLock(root / LOCK)
    lock.acquire()
    return root, lock


def _tidy(folders: Iterable[Path]) -> None:
    me = os.getuid() if hasattr(os, "getuid") else 0  # Windows has no such number, and says 0 of every file
    for folder in folders:
        with suppress(OSError, Timeout):
            if folder.is_symlink() or folder.stat().st_uid != me or not (folder / LOCK).exists():
                continue
            with FileLock(folder / LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
