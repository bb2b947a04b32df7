"""Which files are a run's own? Those that its records name; nothing else in the folder is ever touched.

OUT/masks/PROMPT/CASE.png       255 inside (volumes: own format, 1 inside; on request DICOM SEG); empty where not found
    doubtful/PROMPT/CASE.png    masks of less confidence than asked for
    labels/PROMPT/CASE.png      0, 1 and 2 = ignore, where wanted
    overlays/PROMPT/CASE.jpg
    manifest.jsonl, run.json, index.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from medclipsam.io.atomic import file_digest
from medclipsam.io.naming import prompt_slug
from medclipsam.runs.manifest import Record

MASKS, DOUBTFUL, LABELS, OVERLAYS = KINDS = "masks", "doubtful", "labels", "overlays"
MANIFEST = "manifest.jsonl"
SETTINGS = "run.json"
SHEET = "index.html"
NO_PROMPT = "no-prompt"
_ENDING = re.compile(r"(?:-[a-z][0-9]{4,})?\.(?:png|nii\.gz|nrrd|mha|mgz|npy|dcm|jpg)")
"""What follows a case's name in the names of its files: perhaps the number of a slice, frame or page."""


def place(folder: Path, kind: str, prompt: str, name: str) -> Path:
    """Where a file of this kind lies, without its suffix."""
    return folder / kind / prompt_slug(prompt) / name


def outputs_hold(folder: Path, outputs: Mapping[str, str]) -> bool:
    """Whether every file is there, with the bytes that were written."""
    try:
        return all(file_digest(folder / name) == digest for name, digest in outputs.items())
    except OSError:
        return False


def files_of(folder: Path, record: Record) -> set[str]:
    """The files that a record answers for; for a case that was begun and not ended, all that bear its name."""
    return set(record.outputs) | (set(_bearing(folder, record)) if record.status == "begun" else set())


def remove(folder: Path, names: Iterable[str]) -> None:
    """Remove files that are a run's own.

    Raises:
        OSError: one that cannot be removed.
    """
    for name in names:
        (folder / name).unlink(missing_ok=True)


def tidy(folder: Path) -> None:
    """Remove what killed runs were in the middle of writing, and folders of ours that are empty.

    Raises:
        OSError: a file that cannot be removed.
    """
    ours = [folder / kind for kind in KINDS]
    for above in (folder, *(path for kind in ours for path in kind.glob("*"))):
        for path in above.glob(".*.partial-*"):
            path.unlink(missing_ok=True)
    for empty in (*(path for kind in ours for path in kind.glob("*")), *ours):
        with suppress(OSError):
            empty.rmdir()


def _bearing(folder: Path, record: Record) -> Iterator[str]:
    for kind in KINDS:
        above = place(folder, kind, record.prompt or NO_PROMPT, record.case).parent
        for path in above.glob(f"{record.case}*"):
            if _ENDING.fullmatch(path.name.removeprefix(record.case)):
                yield path.relative_to(folder).as_posix()
