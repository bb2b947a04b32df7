"""Follows a run by its manifest: how many answers of how many, how fast, the last ones, what was refused.

    manifest.jsonl, manifest.2-of-3.jsonl --what was added since the last look--> Progress

Only files of the run's folder are read, so that a run on another machine can be followed in a shared folder. Records
hold no times: the rate is what comes in while one looks.
"""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from time import monotonic, time
from typing import Any

from medclipsam.io.atomic import write_atomic
from medclipsam.runs.layout import MANIFEST, OVERLAYS, SETTINGS
from medclipsam.runs.manifest import Key, Record
from medclipsam.runs.resume import shard_manifests

EXPECTED = ".expected.json"
"""Says how many answers a run will have; gone when they are all there."""
LATEST = 12
"""Number of last answers that are shown."""
MOST_REFUSALS = 100
"""Number of refusals that are shown."""
LOOKS = 600
"""Number of looks that the rate is taken over."""
LONGEST_S = 600.0
"""Seconds that the rate is taken over."""
NOT_DONE = ("begun",)
FAILED = ("refused", "failed")


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """How far a run is."""

    done: int
    total: int | None
    """Number of answers that there will be; None where the run has not said it yet."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Number of answers by status."""
    rate: float | None = None
    """Answers in a second of late; None until two looks have seen a difference."""
    seconds_left: float | None = None
    seconds_since: float | None = None
    """Seconds since the last record was written, by the clocks of this machine and the folder's."""
    finished: bool = False
    latest: Sequence[Record] = ()
    """The last answers that have a picture, the newest first."""
    refusals: Sequence[Record] = ()
    """The last refusals, the newest first."""


def expect(folder: Path, total: int) -> None:
    """Say how many answers a run will have.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
    """
    write_atomic(folder / EXPECTED, json.dumps({"answers": total}) + "\n")


class Follower:
    """Looks at the folder of a run again and again, and reads what was added.

    Args:
        folder: what `pseudolabel` or `predict` writes; it need not be there yet.
        clock: seconds, for the rate.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = monotonic) -> None:
        self.folder = folder
        self._clock = clock
        self._records: dict[Key, Record] = {}
        self._read: dict[Path, tuple[int, int]] = {}
        self._looks: deque[tuple[float, int]] = deque(maxlen=LOOKS)
        self._lock = Lock()

    def look(self) -> RunProgress:
        """How far the run is now; a folder that is not there yet has nothing done."""
        with self._lock:
            self._read_on()
            settings = _json(self.folder / SETTINGS).get("config_sha256")
            mine = [record for record in self._records.values() if settings in (None, record.config_sha256)]
            done = [record for record in mine if record.status not in NOT_DONE]
            total, finished = self._total(len(done))
            rate = self._rate(len(done))
            return RunProgress(
                done=len(done),
                total=total,
                counts=dict(Counter(record.status for record in mine)),
                rate=rate,
                seconds_left=(total - len(done)) / rate if rate and total and not finished else None,
                seconds_since=self._since(),
                finished=finished,
                latest=_last(LATEST, (record for record in done if picture_of(record))),
                refusals=_last(MOST_REFUSALS, (record for record in done if record.status in FAILED)),
            )

    def picture(self, name: str) -> Path | None:
        """The file of a picture that a record names; None of all others."""
        with self._lock:
            known = any(picture_of(record) == name for record in self._records.values())
        path = self.folder / name
        inside = known and path.resolve().is_relative_to(self.folder.resolve())
        return path if inside and path.is_file() else None

    def _read_on(self) -> None:
        """Take what was added; read a manifest anew that was replaced, or is gone."""
        paths = [path for path in (self.folder / MANIFEST, *shard_manifests(self.folder)) if path.is_file()]
        now = {path: path.stat() for path in paths}
        if not all(_goes_on(now.get(path), *known) for path, known in self._read.items()):
            self._records, self._read = {}, {}
        for path, state in now.items():
            _, begin = self._read.get(path, (state.st_ino, 0))
            with path.open("rb") as stream:
                stream.seek(begin)
                added = stream.read()
            whole = added[: added.rfind(b"\n") + 1]
            self._read[path] = (state.st_ino, begin + len(whole))
            for record in filter(None, map(Record.from_line, whole.splitlines())):
                self._records.pop(record.key, None)
                self._records[record.key] = record

    def _total(self, done: int) -> tuple[int | None, bool]:
        """(how many answers there will be, whether they are all there)."""
        expected = _json(self.folder / EXPECTED).get("answers")
        if isinstance(expected, int):
            return max(expected, done), False
        finished = bool(done) and not shard_manifests(self.folder)
        return (done, True) if finished else (None, False)

    def _rate(self, done: int) -> float | None:
        now = self._clock()
        if self._looks and done < self._looks[-1][1]:
            self._looks.clear()
        self._looks.append((now, done))
        while now - self._looks[0][0] > LONGEST_S:
            self._looks.popleft()
        then, before = self._looks[0]
        return (done - before) / (now - then) if done > before and now > then else None

    def _since(self) -> float | None:
        times = [path.stat().st_mtime for path in self._read if path.is_file()]
        return max(0.0, time() - max(times)) if times else None


def _goes_on(now: os.stat_result | None, node: int, end: int) -> bool:
    """Whether a file is the one that was read, and at least as long."""
    return now is not None and now.st_ino == node and now.st_size >= end


def picture_of(record: Record) -> str:
    """The path of a record's picture below the folder; empty where it has none."""
    return next((name for name in record.outputs if name.startswith(f"{OVERLAYS}/")), "")


def _last(most: int, records: Iterable[Record]) -> list[Record]:
    return list(reversed(deque(records, maxlen=most)))


def _json(path: Path) -> dict[str, Any]:
    """What a file of the run says; nothing where it is not there, or is being written."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text("utf-8"))
        if isinstance(found, dict):
            return found
    return {}
