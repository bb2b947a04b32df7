"""Takes scans in: files that were sent, or a path below a folder of the server; both are opened in the sandbox.

    files --> root/scans/ID/...   ID is the SHA-256 of the content: what is sent again is known already
    path  --> where it lies       refused unless it lies below a folder that the server was started with

One file is a scan; a header of a volume and the file of its voxels too; any other files are those of a DICOM series.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Protocol

from medclipsam.errors import BadInput
from medclipsam.io.atomic import file_digest
from medclipsam.io.limits import reader_edge
from medclipsam.io.naming import case_name
from medclipsam.io.reading import open_source, picture
from medclipsam.io.sniff import VOLUMES, sniff
from medclipsam.io.source import ReadOptions, Source
from medclipsam.io.volumes.opening import parts_of
from medclipsam.io.zips import MAX_MEMBERS
from medclipsam.types import MedImage

DEEPEST = 16
"""Folders above a file that is sent."""
LONGEST_NAME = 200
"""Bytes of the name of a file or folder."""
OPEN_SOURCES = 4
"""Ways in which one scan is held open."""


class Sent(Protocol):
    """One file of an upload."""

    @property
    def filename(self) -> str | None:
        """What the sender calls it, perhaps with folders."""

    @property
    def file(self) -> BinaryIO:
        """Its bytes."""


@dataclass
class Scan:
    """One scan that can be asked about again and again."""

    path: Path
    """A file, or the folder of a series."""
    case: str
    """The case id that its results are called by."""
    _sources: OrderedDict[ReadOptions, Source] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def source(self, options: ReadOptions) -> Source:
        """The scan, open; the last few ways of reading it stay open.

        Raises:
            BadInput: a scan that cannot be used.
        """
        with self._lock:
            if options not in self._sources:
                with spoken_of(self):
                    self._sources[options] = open_source(self.path, options)
            self._sources.move_to_end(options)
            while len(self._sources) > OPEN_SOURCES:
                self._sources.popitem(last=False)
            return self._sources[options]

    def image(self, index: int, options: ReadOptions) -> MedImage:
        """One of its images.

        Raises:
            BadInput: there is no such image, or it cannot be decoded.
        """
        source = self.source(options)
        if not 0 <= index < source.count:
            raise BadInput(f"{self.case}: has no {source.unit} {index}", f"choose 0 to {source.count - 1}")
        with spoken_of(self):
            return picture(source, index)


@contextmanager
def spoken_of(scan: Scan) -> Iterator[None]:
    """Let what is said of a scan call it by its case id, not by where the server keeps it.

    Raises:
        BadInput: as the block does.
    """
    try:
        yield
    except BadInput as error:
        problem = error.problem
        for place in (str(scan.path), case_name(scan.path), scan.path.name):
            problem = problem.replace(place, scan.case)
        raise BadInput(problem, error.remedy) from error


def describe(scan: Scan, options: ReadOptions) -> dict[str, Any]:
    """What a page needs to show a scan.

    Raises:
        BadInput: a scan that cannot be used.
    """
    source = scan.source(options)
    first = scan.image(0, options)
    return {
        "case": scan.case,
        "format": first.format,
        "unit": source.unit,
        "count": source.count,
        "size": {"height": first.size[0], "width": first.size[1]},
        "spacing_mm": list(first.spacing_mm) if first.spacing_mm else None,
        "is_volume": source.places_mm is not None and source.count > 1,
        "warnings": list(first.warnings),
    }


def take(files: Sequence[Sent], root: Path, case: str | None) -> tuple[str, Scan, Path]:
    """Write what was sent into a folder of its own below `root`.

    Returns:
        The id, the scan, and its folder.

    Raises:
        BadInput: no file, too many, or names that no file may have.
    """
    if not 0 < len(files) <= MAX_MEMBERS:
        raise BadInput(f"{len(files):,} files were sent", f"send 1 to {MAX_MEMBERS:,}: one file, or those of a series")
    folder = Path(tempfile.mkdtemp(prefix="scan-", dir=root))
    try:
        paths = [_write(folder, each) for each in files]
        key = content_id(folder, paths)
        path = _scan_in(folder, paths)
        return key, Scan(path=path, case=case or _case(files, key)), folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def content_id(folder: Path, paths: Sequence[Path]) -> str:
    """SHA-256 of a file's bytes; of several files that of their names and hashes, in the order of the names."""
    if len(paths) == 1:
        return file_digest(paths[0])
    lines = sorted(f"{path.relative_to(folder).as_posix()} {file_digest(path)}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def below(folders: Sequence[Path], wanted: str) -> Path:
    """The file or folder that a path means.

    Args:
        folders: where it may lie.
        wanted: absolute, or below one of them.

    Raises:
        BadInput: it lies elsewhere, or is not there: which of the two is not told.
    """
    for folder in folders:
        try:
            path = (folder / wanted).resolve()
            if path.is_relative_to(folder.resolve()) and path.exists():
                return path
        except (OSError, ValueError, RuntimeError):
            continue
    raise BadInput("no folder of this server holds this path", "start it with --folder, or send the file")


def _write(folder: Path, sent: Sent) -> Path:
    path = folder.joinpath(*_safe_parts(sent.filename or "scan"))
    if path.exists():
        raise BadInput("two files of one name were sent", "send each once")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as target:
        shutil.copyfileobj(sent.file, target, 2**20)
    return path


def _safe_parts(name: str) -> list[str]:
    """The folders and the name of a file, if none of them leads anywhere but down."""
    parts = name.replace("\\", "/").split("/")
    odd = any(part in ("", ".", "..") or not part.isprintable() for part in parts)
    if odd or len(parts) > DEEPEST or any(len(part.encode()) > LONGEST_NAME for part in parts):
        raise BadInput("a file has a name that leads elsewhere or is too long", "send it under a plain name")
    return parts


def _scan_in(folder: Path, paths: Sequence[Path]) -> Path:
    """What of the files is the scan."""
    if len(paths) == 1:
        return paths[0]
    for path in paths:
        if _is_header(path, paths):
            return path
    return folder


def _is_header(path: Path, paths: Sequence[Path]) -> bool:
    """Whether a file is a volume's header whose voxels are among the other files."""
    try:
        with reader_edge(path.name, "a file"):
            format = sniff(path)
            parts = set(parts_of(format, path)) if format in VOLUMES else set()
    except BadInput:
        return False
    return len(parts) > 1 and parts <= set(paths)


def _case(files: Sequence[Sent], key: str) -> str:
    """What is harmless of the name, and a hash of the content."""
    name = files[0].filename or "scan" if len(files) == 1 else "series"
    return case_name(Path("/", key, Path(name.replace("\\", "/")).name))
