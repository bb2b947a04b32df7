"""Writes decisions to `review.jsonl`, one line each, so that no crash and no second window loses any.

    {"id": "5f1d23ab", "case": "a-1c9d6c7b", "prompt": "liver", "state": "accepted", "judged": {FILE: SHA-256}, ...}
    {"id": "93b0c1fe", "undoes": "5f1d23ab", ...}                                   the decision before counts again

A line is added under a lock and is on the disk before the call returns; what a crash tore is cut off. Nothing is ever
rewritten. A decision counts only for the masks that it was made on: where the run was made again, and they changed,
the item waits anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args

from filelock import FileLock, Timeout

from medclipsam.errors import CannotWrite, UserError
from medclipsam.runs.layout import DOUBTFUL, MASKS
from medclipsam.runs.manifest import Key, ManifestFile, Record, is_output

REVIEW = "review.jsonl"
SCHEMA = 1
LOCK = ".review.lock"
LOCKED_S = 10.0
"""How long a decision waits for another window's."""
State = Literal["accepted", "rejected", "corrected"]


class Overtaken(UserError):
    """Another window decided on the item since this one was shown."""


Held = TypeVar("Held")


class Unchanged(Generic[Held]):
    """What was read from a file, read again only where the file changed: a long list is asked for at every step.

    Args:
        path: the file; it need not exist.
        read: reads it.
    """

    def __init__(self, path: Path, read: Callable[[], Held]) -> None:
        self._path, self._read = path, read
        self._known: tuple[tuple[int, ...], Held] | None = None

    def __call__(self) -> Held:
        """What is there now."""
        state = self._state()
        if self._known is None or self._known[0] != state:
            self._known = state, self._read()
        return self._known[1]

    def _state(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return ()
        return found.st_ino, found.st_size, found.st_mtime_ns


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a person decided on one prompt of one scan.

    Raises:
        ValueError: a state or a file that no decision has.
    """

    id: str
    """Eight hexadecimal digits."""
    case: str
    prompt: str
    state: State
    judged: Mapping[str, str]
    """SHA-256 of each mask that was looked at, by its path below the folder."""
    masks: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each mask that was written for the decision; empty where the run's own masks stand."""
    empty: tuple[str, ...] = ()
    """Those of `masks` that mark nothing; of a volume in one file only where all slices are empty."""
    at: str = field(default_factory=_now)
    """Date and time, UTC, ISO 8601."""

    def __post_init__(self) -> None:
        if self.state not in get_args(State):
            raise ValueError(f"no decision is {self.state!r}")
        if not all(is_output(name) for name in self.masks):
            raise ValueError(f"masks {list(self.masks)} are not those of a decision")

    @property
    def key(self) -> Key:
        """What it was decided on."""
        return self.case, self.prompt

    def to_line(self) -> bytes:
        """One line of JSON."""
        return _line(asdict(self))


@dataclass(frozen=True, kw_only=True)
class Undo:
    """Takes a decision back."""

    id: str
    undoes: str
    """The decision's id."""
    at: str = field(default_factory=_now)
    """Date and time, UTC, ISO 8601."""

    def to_line(self) -> bytes:
        """One line of JSON."""
        return _line(asdict(self))


def judged_files(record: Record) -> dict[str, str]:
    """The masks of a record that a person looks at, doubtful ones too, with their hashes."""
    return {name: digest for name, digest in record.outputs.items() if name.startswith((f"{MASKS}/", f"{DOUBTFUL}/"))}


class DecisionFile:
    """The decisions of one folder.

    Args:
        folder: what `medclipsam pseudolabel` wrote.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / REVIEW
        self._lock = FileLock(folder / LOCK, timeout=LOCKED_S)
        self._read = Unchanged(self._path, self._fresh)

    def read(self) -> Mapping[Key, Decision]:
        """The decision that counts for each item; none where there is no file."""
        return self._read()

    def _fresh(self) -> dict[Key, Decision]:
        try:
            lines = self._path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return {}
        taken: dict[str, Decision] = {}
        for entry in map(_entry, lines):
            if isinstance(entry, Undo):
                taken.pop(entry.undoes, None)
            elif entry is not None:
                taken[entry.id] = entry
        return {decision.key: decision for decision in taken.values()}

    def append(self, decision: Decision, seen: str | None) -> None:
        """Write a decision.

        Args:
            decision: what was decided.
            seen: id of the decision that the person saw when deciding; None where the item still waited.

        Raises:
            Overtaken: another one counts meanwhile.
            CannotWrite: the file cannot be written or locked.
        """
        with self._locked():
            current = self.read().get(decision.key)
            if (current.id if current else None) != seen:
                state = current.state if current else "open again"
                raise Overtaken(f"the item is {state}: another window decided on it meanwhile", "look at it again")
            self._write(decision)

    def undo(self, undone: Undo) -> Decision | None:
        """Take a decision back; the decision that no longer counts, None where it did not count any more.

        Raises:
            CannotWrite: the file cannot be written or locked.
        """
        with self._locked():
            found = next((each for each in self.read().values() if each.id == undone.undoes), None)
            if found is not None:
                self._write(undone)
            return found

    def _write(self, entry: Decision | Undo) -> None:
        with ManifestFile(self._path) as file:
            file.append(entry)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._lock.acquire()
        except (Timeout, OSError) as error:
            raise CannotWrite(f"{self._path.name} cannot be locked", "end what holds it and decide again") from error
        try:
            yield
        finally:
            self._lock.release()


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps({"schema": SCHEMA, **fields}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _entry(line: bytes) -> Decision | Undo | None:
    """What a line holds; None of what is neither, such as a line of a later version."""
    try:
        fields = json.loads(line)
        if fields.pop("schema") != SCHEMA:
            return None
        if "undoes" in fields:
            return Undo(**fields)
        return Decision(**{**fields, "empty": tuple(fields["empty"])})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
