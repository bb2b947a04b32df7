"""Finds the scans of a run and what is asked of each: a folder, a table or one file becomes a list of cases.

    scans/a.png          --prompt "breast tumor"          Case("a-1c9d6c7b",    scans/a.png,   ("breast tumor",))
    scans/u/b.dcm        prompts.csv: a.png,lung     ->   Case("b-70e2c318",    scans/u/b.dcm, ())   no row: refused
    scans/notes.txt                                       (passed over: no image by name or content)
    scans/a_mask.png                                      (left out: a mask of a.png, by name and content)

A file that is called an image is a case even where it is broken or, in a table, missing: it must end in a record. A
case's name holds the file's own stem and a hash of where it lies below the folder, so the folder may move.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from medclipsam.errors import BadInput
from medclipsam.io.naming import case_name
from medclipsam.io.neighbour_masks import masks_beside_images
from medclipsam.io.reading import is_readable
from medclipsam.io.sniff import SPOKEN
from medclipsam.io.tables import ListedFiles, csv_rows
from medclipsam.prompt_table import read_prompt_table
from medclipsam.runs.manifest import Record
from medclipsam.runs.stems import stems
from medclipsam.words import check_prompts

if TYPE_CHECKING:
    from medclipsam.pacs.fetching import RemoteScan

TABLES = (".csv", ".json")
IMAGE_SUFFIXES = (
    *(".dcm", ".dicom", ".ima", ".nii", ".nii.gz", ".hdr"),
    *(".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh"),
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy"),
)
WAY_OUT = "give --prompt TEXT for all files, or --prompts with a CSV or JSON table"

_log = logging.getLogger(__name__)
Prompts = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file, and what is asked of it."""

    name: str
    """Safe as a file name, and without the folders above the file."""
    path: Path
    """Absolute; the file need not exist."""
    prompts: Prompts
    """Empty where a table says what is asked of other files, but not of this one."""
    file: str | None = None
    """Its path below the folder, as the person named it; None where results must not tell."""
    stem: str = ""
    """Path of its files below `masks/PROMPT/`, without suffix."""
    note: str = ""
    """What the person should know of that name."""
    remote: RemoteScan | None = None
    """Brings it here, where it lies in an archive; then `path` says where to."""

    @property
    def spoken(self) -> str:
        """What logs and the terminal call it."""
        return self.file or self.name

    def record(self, prompt: str | None, config_sha256: str, **known: Any) -> Record:
        """A record of this case."""
        return Record(
            case=self.name, prompt=prompt, file=self.file, stem=self.place, config_sha256=config_sha256, **known
        )

    @property
    def place(self) -> str:
        """The stem of its files; of a case that nobody gave one, its name."""
        return self.stem or self.name


def find_cases(
    source: Path,
    prompts: Sequence[str] = (),
    table: Path | None = None,
    *,
    passed_over: Path | None = None,
    safe_names: bool = False,
    masks_too: bool = False,
) -> list[Case]:
    """All cases, sorted by path.

    Args:
        source: a folder, with all folders below it; or a CSV or JSON table that names files beside it; or one file.
        prompts: asked of every file that `table` does not name.
        table: prompts for each file, by its path below the folder, or by its name where no other file has it.
            A table as `source` is its own, unless prompts or another table are given.
        passed_over: a folder below `source` that holds no input, such as the results.
        safe_names: call files by harmless words and hashes, and tell no names of the scans.
        masks_too: take files of a folder too that look like masks of the images beside them; else they are left out,
            with a warning in the log, unless `table` names them.

    Raises:
        BadInput: no such source, no images in it, no prompts, or a table that cannot be used.
    """
    root, files = _files(source, passed_over)
    if source.is_dir() and not masks_too:
        files = _without_masks(root, files)
    if table is None and not prompts and _is_table(source):
        table = source
    common = check_prompts(prompts) if prompts else ()
    rows = _rows(table, root) if table else {}
    if not common and not rows:
        raise BadInput("nothing says what to segment", WAY_OUT)
    asked = {**dict.fromkeys(files, common), **_matched(rows, files)}
    return _named(root, asked, safe_names=safe_names)


def _without_masks(root: Path, files: Sequence[PurePosixPath]) -> list[PurePosixPath]:
    masks = masks_beside_images(root, files)
    if masks:
        _log.warning(
            "left out as masks of the images beside them: %d files, as %s (--masks-too takes them)",
            len(masks),
            masks[0].name,
        )
    return [file for file in files if file not in set(masks)]


def _is_table(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in TABLES


def _files(source: Path, passed_over: Path | None) -> tuple[Path, list[PurePosixPath]]:
    """The folder that names count from, and the files by their path below it."""
    if source.is_dir():
        files = sorted(_below(source.absolute(), passed_over))
        if not files:
            raise BadInput(f"{source} holds no images", f"give a folder of {SPOKEN}")
        return source.absolute(), files
    if not source.exists():
        raise BadInput(f"there is no {source}", "give a folder, a table or a file")
    if not _is_table(source):
        return source.absolute().parent, [PurePosixPath(source.name)]
    return source.absolute().parent, _listed(source)


def _below(folder: Path, passed_over: Path | None) -> Iterator[PurePosixPath]:
    """Images below a folder; what is hidden and what lies behind linked folders is passed over."""
    skipped = passed_over.resolve() if passed_over else None
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and (here / name).resolve() != skipped)
        for name in names:
            if not name.startswith(".") and _is_image(here / name):
                yield PurePosixPath((here / name).relative_to(folder).as_posix())


def _is_image(path: Path) -> bool:
    """By its name, broken or not; by its content where the name says nothing."""
    name = path.name.lower()
    if name.endswith(".img"):
        return not path.with_suffix(".hdr").exists() and is_readable(path)
    return name.endswith(IMAGE_SUFFIXES) or is_readable(path)


def _listed(table: Path) -> list[PurePosixPath]:
    if table.suffix.lower() == ".json":
        return list(_rows(table, table.absolute().parent))
    listed = ListedFiles(table.absolute().parent)
    files = dict.fromkeys(listed.find(file) for _, file in csv_rows(table, ("file",)) if file.strip())
    if not files:
        raise BadInput(f"{table.name} names no files", "give one in each row of the column file")
    return list(files)


def _rows(table: Path, root: Path) -> dict[PurePosixPath, Prompts]:
    """The prompts of each file below a folder; `./a.png` and `a.png` are one."""
    rows: dict[PurePosixPath, Prompts] = {}
    listed = ListedFiles(root)
    for file, prompts in read_prompt_table(table).items():
        place = listed.find(file)
        rows[place] = tuple(dict.fromkeys((*rows.get(place, ()), *prompts)))
    return rows


def _matched(rows: Mapping[PurePosixPath, Prompts], files: Sequence[PurePosixPath]) -> dict[PurePosixPath, Prompts]:
    """Each row under the file that it names; a row that names none stays, and its missing file is refused later."""
    known, alike = set(files), Counter(file.name for file in files)
    by_name = {file.name: file for file in files if alike[file.name] == 1}
    matched: dict[PurePosixPath, Prompts] = {}
    for place, prompts in rows.items():
        is_bare = place not in known and len(place.parts) == 1
        matched[by_name.get(place.name, place) if is_bare else place] = prompts
    return matched


def _named(root: Path, asked: Mapping[PurePosixPath, Prompts], *, safe_names: bool) -> list[Case]:
    names = {file: _name(root, file) for file in sorted(asked, key=str)}
    if safe_names:
        return [Case(name=name, path=root / file, prompts=asked[file]) for file, name in names.items()]
    places = stems(list(names), names)
    return [
        Case(
            name=name,
            path=root / file,
            prompts=asked[file],
            file=file.as_posix(),
            stem=places[file][0],
            note=places[file][1],
        )
        for file, name in names.items()
    ]


def _name(root: Path, file: PurePosixPath) -> str:
    path = root / file
    return case_name(path, root=root if path.is_relative_to(root) else None)
