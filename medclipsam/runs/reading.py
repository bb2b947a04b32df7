"""Reads the cases of a run in order: what is known of each already, then its images, or why there are none.

    a.png (kept)       ->  Arrival(a, kept=[record])
    b.nii.gz           ->  Arrival(b, image 0), Arrival(b, image 1), ...
    c.png (broken)     ->  Arrival(c, refusal="cannot be read as ...")

This runs in the thread that reads ahead: hashing, decoding and checking earlier results cost the model no time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.io.atomic import file_digest
from medclipsam.io.limits import reader_edge
from medclipsam.io.members import files_below
from medclipsam.io.naming import case_name
from medclipsam.io.sniff import sniff
from medclipsam.io.source import ReadOptions
from medclipsam.io.volumes.opening import parts_of
from medclipsam.runs.cases import Case
from medclipsam.runs.manifest import Record
from medclipsam.runs.pictures import Pictures, open_pictures
from medclipsam.runs.resume import Earlier
from medclipsam.runs.windows import WindowChoice
from medclipsam.types import MedImage

Choose = Callable[[Pictures], WindowChoice | None]
"""Gives the choice of windows for the images of a case; None where they are asked about as they were read."""
NO_ROW = "the prompt table has no row for it"


@dataclass(frozen=True, eq=False, kw_only=True)
class Arrival:
    """One step of reading one case."""

    case: Case
    sha256: str | None = None
    """SHA-256 of the file, or of the list of objects in an archive."""
    kept: tuple[Record, ...] = ()
    """What need not be done again."""
    prompts: tuple[str, ...] = ()
    """What is to be done."""
    pictures: Pictures | None = None
    """All images of the case, where it could be opened."""
    choice: WindowChoice | None = None
    """The choice of the window in which the case is asked about; see `medclipsam.runs.windows`."""
    image: MedImage | None = None
    index: int = 0
    """0-based number of the image in its file."""
    refusal: str | None = None
    """Why the file, or the rest of it, cannot be used."""


def arrivals(
    cases: Sequence[Case], options: ReadOptions, earlier: Earlier | None = None, choose: Choose = lambda pictures: None
) -> Iterator[Arrival]:
    """Everything that comes of the cases; several arrivals of one case follow each other, at least one for each.

    Args:
        choose: gives the choice of windows for the images of a case.
    """
    for case in cases:
        arrived = Arrival(case=case, prompts=case.prompts)
        try:
            arrived = _inspected(case, earlier)
            if not case.prompts:
                raise BadInput(NO_ROW)
            if arrived.prompts:
                yield from _read(arrived, options, choose)
            else:
                yield arrived
        except BadInput as error:
            yield replace(arrived, refusal=spoken(error, case.path))


def spoken(error: BadInput, path: Path) -> str:
    """What is wrong with a file, without its folder, and without its name, which the record has."""
    problem = error.problem.replace(str(path), "the file")
    for name in (case_name(path), path.name):
        problem = problem.removeprefix(name)
    return problem.lstrip(": ")


def _read(arrived: Arrival, options: ReadOptions, choose: Choose) -> Iterator[Arrival]:
    if arrived.case.remote:
        arrived.case.remote.fetch()
    pictures = open_pictures(arrived.case.path, options, name=arrived.case.name)
    choice = choose(pictures)
    for index, image in enumerate(pictures):
        yield replace(arrived, pictures=pictures, choice=choice, image=image, index=index)


def _inspected(case: Case, earlier: Earlier | None) -> Arrival:
    """What is known of a file before it is decoded."""
    sha256 = case.remote.digest() if case.remote else input_digest(case.path)
    kept = {
        prompt: earlier.kept((case.name, prompt), sha256, case.place) if earlier else None for prompt in case.prompts
    }
    return Arrival(
        case=case,
        sha256=sha256,
        kept=tuple(record for record in kept.values() if record),
        prompts=tuple(prompt for prompt, record in kept.items() if not record),
    )


def input_digest(path: Path) -> str:
    """SHA-256 of a file; of a header with its voxels, or the files of a series, all together."""
    try:
        if path.is_dir():
            return _folder_digest(path)
        digests = [file_digest(part) for part in _parts(path)]
        return digests[0] if len(digests) == 1 else "".join(digest[: 64 // len(digests)] for digest in digests)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise BadInput(f"the file cannot be opened ({reason})") from error


def _parts(path: Path) -> tuple[Path, ...]:
    """The files that make up a scan; of one that cannot be read, the one that was named."""
    try:
        with reader_edge(path.name, "a file"):
            return parts_of(sniff(path), path)
    except BadInput:
        return (path,)


def _folder_digest(folder: Path) -> str:
    """Hash of the names and contents of what the reader looks at in a folder."""
    lines = sorted(f"{member.place} {file_digest(member.path)}\n" for member in files_below(folder))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
