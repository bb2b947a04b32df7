"""Where the files of a run lie, and which files are a run's own: nothing else in its folder is ever touched.

OUT/masks/PROMPT/STEM.png       255 inside (volumes: own format, 1 inside; on request DICOM SEG); empty where not found
    doubtful/PROMPT/STEM.png    masks of less confidence than asked for
    labels/PROMPT/STEM.png      0, 1 and 2 = ignore, where wanted
    overlays/PROMPT/STEM.jpg
    reports/PROMPT/STEM.dcm     DICOM SR on the SEG of the same name, where wanted
    probability/, entropy/ ...  maps of the method, where wanted
    reviewed/ID/PROMPT/STEM.png masks that a person corrected, see `medclipsam.review`; not a run's own
    manifest.jsonl, run.json, index.html, measurements.csv; stored.jsonl: what an archive was given

STEM is the scan's own path below the folder of scans, see `medclipsam.runs.stems`; files of one slice, frame or page
carry its number: `siteA/v-s0003.png`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from medclipsam.io.atomic import file_digest, suffixed
from medclipsam.io.naming import prompt_slug
from medclipsam.runs.cases import Case
from medclipsam.runs.manifest import KINDS, REVIEWED, SUFFIX, Record
from medclipsam.types import MedImage

MASKS, DOUBTFUL, LABELS, OVERLAYS, REPORTS = "masks", "doubtful", "labels", "overlays", "reports"
MANIFEST = "manifest.jsonl"
SETTINGS = "run.json"
SHEET = "index.html"
MEASUREMENTS = "measurements.csv"
STORED = "stored.jsonl"
NO_PROMPT = "no-prompt"
_ENDING = re.compile(rf"(?:-[a-z][0-9]{{4,}})?{SUFFIX.pattern}")
"""What follows a case's stem in the names of its files: perhaps the number of a slice, frame or page."""


class Places:
    """Where the files of one case and prompt lie; names for `medclipsam.io.mask_files.MaskFiles`.

    Args:
        folder: the output folder.
        kind: the folder below it, such as `masks`.
        case: the scan that they belong to.
        prompt: the one that they belong to.
    """

    def __init__(self, folder: Path, kind: str, case: Case, prompt: str) -> None:
        self._folder, self._kind, self._case, self._prompt = folder, kind, case, prompt

    def of(self, image: MedImage | None, prompt: str | None, word: str) -> Path:
        """See `medclipsam.io.mask_files.Names`; a structure set and a SEG would have one suffix, so its word stays."""
        number = image.name.removeprefix(self._case.name) if image else ""
        path = place(self._folder, self._kind, self._prompt, self._case.place + number)
        return suffixed(path, ".rtstruct") if word == "rtstruct" else path


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
    """Remove files that are a run's own, and none that a person made of them.

    Raises:
        OSError: one that cannot be removed.
    """
    root = folder.resolve()
    for name in names:
        is_ours = (folder / name).parent.resolve().is_relative_to(root) and not name.startswith(f"{REVIEWED}/")
        if is_ours:
            (folder / name).unlink(missing_ok=True)


def tidy(folder: Path) -> None:
    """Remove what killed runs were in the middle of writing, and folders of ours that are empty.

    Raises:
        OSError: a file that cannot be removed.
    """
    ours = [folder / kind for kind in KINDS]
    below = [folder, *(path for kind in ours for path in (kind, *_folders_below(kind)))]
    for path in (path for above in below for path in above.glob(".*.partial-*")):
        path.unlink(missing_ok=True)
    for empty in reversed(below[1:]):
        with suppress(OSError):
            empty.rmdir()


def _folders_below(folder: Path) -> Iterator[Path]:
    """All folders below, those above before those within; links are not followed."""
    for above, names, _ in os.walk(folder):
        yield from (Path(above) / name for name in names)


def _bearing(folder: Path, record: Record) -> Iterator[str]:
    """Files that bear a case's stem, whichever run wrote them."""
    for kind in KINDS:
        stem = place(folder, kind, record.prompt or NO_PROMPT, record.stem)
        for path in stem.parent.iterdir() if stem.parent.is_dir() else ():
            if path.name.startswith(stem.name) and _ENDING.fullmatch(path.name.removeprefix(stem.name)):
                yield path.relative_to(folder).as_posix()
