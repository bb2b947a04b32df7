"""Records what became of each case: one JSON line each, written after its files, whole or not at all.

    {"case": "a-1c9d6c7b", "prompt": "tumor", "status": "begun", ...}      files may be there, and may be anyone's
    {"case": "a-1c9d6c7b", "prompt": "tumor", "status": "done", ..., "outputs": {"masks/tumor/a-1c9d6c7b.png": HASH}}
    {"case": "b-70e2c318", "prompt": "tumor", "stat                        torn by a crash: dropped, the case is redone

While a run lasts, lines are added and the last of a case counts; a run that ends leaves one line for each, sorted.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self, get_args

from medclipsam.errors import BadInput, CannotWrite
from medclipsam.io.atomic import write_atomic
from medclipsam.runs.confidence import Verdict

SCHEMA = 1
"""Raised when a field changes its meaning or goes."""
Status = Literal[Verdict, "begun", "refused", "failed"]
"""`refused`: the file or prompt cannot be used; `failed`: a bug of ours, told on the terminal; both are tried again."""
READ = get_args(Verdict)
"""The file could be read and was answered."""
Edges = tuple[float, float, float, float]
Key = tuple[str, str | None]
"""Case and prompt; None where a table has no prompt for the file."""
KINDS = ("masks", "doubtful", "labels", "overlays", "reports", "saliency", "probability", "entropy", "information")
"""The folders of a run's files."""
REVIEWED = "reviewed"
"""The folder of masks that a person made of a run's, see `medclipsam.review`; no run touches it."""
SUFFIX = re.compile(r"\.(?:png|rtstruct\.dcm|dcm|nii\.gz|seg\.nrrd|nrrd|mha|mgz|npy|jpg)")
"""What their names end with."""
GO_ON = "mend it and run the same command again: what is done is kept"
_START = f'{{"schema": {SCHEMA}, "case": "'.encode()
_SAFE = re.compile(r"[A-Za-z0-9_-]+")
_NUMBERS = ("presence", "confidence", "entropy", "boundary_entropy", "area_px", "area_mm2", "seconds")


def is_output(name: str) -> bool:
    """Whether a record may name a file: in a folder of ours, and nowhere else."""
    kind, _, below = name.partition("/")
    return (
        kind in (*KINDS, REVIEWED) and is_stem(below) and "/" in below and bool(re.search(rf"{SUFFIX.pattern}$", below))
    )


def is_stem(text: str) -> bool:
    """Whether it is a path that leads nowhere but down."""
    return bool(text) and "\0" not in text and not set(text.split("/")) & {"", ".", ".."}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One slice, frame or page of a case that has several."""

    index: int
    """0-based, in the order of the file."""
    status: Verdict
    presence: float | None
    confidence: float | None
    sam_scores: tuple[float, ...]
    box: Edges | None
    area_px: int
    area_mm2: float | None
    reason: str | None = None
    """Why nothing was found, see `medclipsam.types.Segmentation`."""
    entropy: float | None = None
    """Mean entropy of all pixels in bits, of a method that knows its uncertainty."""
    boundary_entropy: float | None = None
    """Entropy of the whole picture for each pixel of the mask's rim, in bits; None where the mask is empty."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What became of one prompt on one file.

    Raises:
        ValueError: values that no record has.
    """

    case: str
    """A short safe name that tells cases apart."""
    prompt: str | None
    status: Status
    file: str | None = None
    """The scan's path as the person named it; None with safe names."""
    stem: str = ""
    """Path of the case's files below `masks/PROMPT/`, without suffix; where none is given, the case."""
    reason: str | None = None
    """Why it was refused or failed, or why nothing was found where all pictures agree on that."""
    input_sha256: str | None = None
    """SHA-256 of the file's bytes; None where it could not be read."""
    config_sha256: str
    """SHA-256 of the settings in `run.json` that decide what comes out."""
    presence: float | None = None
    """The largest of the pictures."""
    confidence: float | None = None
    """See `medclipsam.runs.confidence`; None where nothing was found."""
    entropy: float | None = None
    """See `Picture`; None where there are several pictures."""
    boundary_entropy: float | None = None
    """Likewise."""
    sam_scores: tuple[float, ...] = ()
    box: Edges | None = None
    """(x0, y0, x1, y1) in pixels; None where nothing was found, and where there are several pictures."""
    area_px: int | None = None
    area_mm2: float | None = None
    """None where the spacing is unknown."""
    measurements: tuple[Mapping[str, Any], ...] = ()
    """What was measured on the masks of a stack together, else on each image; see `medclipsam.report`."""
    pictures: tuple[Picture, ...] = ()
    """Empty where the file holds one picture."""
    warnings: tuple[str, ...] = ()
    """What a person should know about how the file was read."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each file written, by its path below the output folder."""
    seconds: float = 0.0
    """Wall time, without an encoding that was made ahead; the one field that differs between two runs."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stem", self.stem or self.case)
        if not (_SAFE.fullmatch(self.case) and is_stem(self.stem)) or self.status not in get_args(Status):
            raise ValueError(f"no record has case {self.case!r} and status {self.status!r}")
        if not all(is_output(name) for name in self.outputs):
            raise ValueError(f"outputs {list(self.outputs)} are not those of a run")
        if not all(isinstance(getattr(self, name), int | float | None) for name in _NUMBERS):
            raise ValueError("a number of the record is none")
        if not all(isinstance(text, str | None) for text in (self.prompt, self.reason, self.file, *self.warnings)):
            raise ValueError("a text of the record is none")

    @property
    def spoken(self) -> str:
        """What a person calls the case."""
        return self.file or self.case

    @property
    def key(self) -> Key:
        """What tells records apart."""
        return self.case, self.prompt

    def to_line(self) -> bytes:
        """The record as one line of UTF-8 JSON.

        Raises:
            ValueError: a NaN or infinite number.
        """
        text = json.dumps({"schema": SCHEMA, **asdict(self)}, ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8", "replace") + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self | None:
        """The record of a line; None where the line is none."""
        try:
            fields = json.loads(line)
            if fields.pop("schema") != SCHEMA:
                return None
            fields["pictures"] = tuple(Picture(**_tuples(picture), **picture) for picture in fields["pictures"])
            fields["warnings"] = tuple(fields["warnings"])
            fields["measurements"] = tuple(dict(row) for row in fields.get("measurements", ()))
            return cls(**_tuples(fields), **fields)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists alone: take those fields out that are tuples."""
    scores, box = fields.pop("sam_scores"), fields.pop("box")
    return {"sam_scores": tuple(scores), "box": None if box is None else tuple(box)}


class Line(Protocol):
    """What a manifest holds."""

    def to_line(self) -> bytes:
        """One line of JSON, with its end."""


class ManifestFile:
    """A manifest that grows by one record at a time.

    Args:
        path: the file; a line that a crash tore is cut off.

    Raises:
        CannotWrite: the file cannot be opened or written, or its folder is gone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _plainly(path):
            self._file = path.open("ab")
            self._cut_torn_line()

    def append(self, record: Line) -> None:
        """Write one record; when this returns, it is on the disk."""
        with _plainly(self._path):
            self._check_place()
            self._file.write(record.to_line())
            self._file.flush()
            os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing more is written."""
        self._file.close()

    def _cut_torn_line(self) -> None:
        content = self._path.read_bytes()
        self._file.truncate(content.rfind(b"\n") + 1)

    def _check_place(self) -> None:
        """An open file outlives its folder: without this a lost folder would be noticed at the end, or never."""
        if not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno())):
            raise FileNotFoundError(2, "it was replaced while the run went on")


def read_manifest(path: Path) -> dict[Key, Record]:
    """The last record of each case and prompt; empty where there is no such file.

    Raises:
        BadInput: a file that cannot be read, or in which no line is a record.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadInput(f"{path.name} cannot be read ({error.strerror})", "check its permissions") from error
    whole = [line for line in lines[:-1] if line]
    records = {record.key: record for record in map(Record.from_line, whole) if record}
    if not records and _is_foreign(whole, lines[-1]):
        raise BadInput(f"{path.name} is not that of a pseudolabel run", "choose another output folder")
    return records


def write_manifest(path: Path, records: Iterable[Record]) -> None:
    """Replace the manifest by these records, sorted by case and prompt.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
    """
    ordered = sorted(records, key=lambda record: (record.case, record.prompt or ""))
    write_atomic(path, b"".join(record.to_line() for record in ordered))


def _is_foreign(whole: Sequence[bytes], torn: bytes) -> bool:
    """Whether lines of which none is a record, or the begin of one, are somebody else's."""
    return bool(whole) or not (torn.startswith(_START) or _START.startswith(torn))


@contextmanager
def _plainly(path: Path) -> Iterator[None]:
    """Say of every failure what it means for the run."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CannotWrite(f"{path} cannot be written ({reason})", GO_ON) from error
