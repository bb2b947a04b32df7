"""Names the files of a run after the scans that they belong to.

    siteA/benign_111.png          ->  siteA/benign_111        the scan's own path, without its suffix
    a.png, a.jpg                  ->  a-png, a-jpg            two scans of one name: what tells them apart, and a note
    liver_0000.nii.gz             ->  liver                   nnU-Net's images: its labels carry no channel number
    ../elsewhere/DOE.png          ->  elsewhere-1c9d6c7b      outside the folder, or no name that every disk takes

Where results leave the house, `--safe-names` names all of them by `medclipsam.io.naming.case_name`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from medclipsam.io.naming import stem_of

LONGEST_PART = 150
"""Bytes of one part of a path: suffixes and the names of temporary files must fit beside it."""
NOTE = "another scan has the same name, so the files of this one are called {stem}"
_FORBIDDEN = set('\\:*?"<>|')
"""What Windows does not take in a name."""
_CHANNEL = re.compile(r"(.+)_([0-9]{4})")
_NUMBERED = re.compile(r"(.+)-[a-z][0-9]{4,}")
"""What the files of single slices, frames and pages are called."""


def stems(files: Sequence[PurePosixPath], names: Mapping[PurePosixPath, str]) -> dict[PurePosixPath, tuple[str, str]]:
    """(the stem of a scan's files below `masks/PROMPT/`, a note for the person or nothing) for each file.

    Args:
        files: as the person named them, below the folder of scans.
        names: a safe and unique name of each, for those whose own cannot be used.
    """
    plain = {file: _plain(file) for file in files}
    channels = _first_channels(file for file in files if plain[file])
    wanted = {file: channels.get(file, plain[file]) or names[file] for file in files}
    taken = {stem.casefold() for stem in wanted.values()}
    alike: dict[str, list[PurePosixPath]] = defaultdict(list)
    for file, stem in wanted.items():
        alike[stem.casefold()].append(file)
    return {
        file: _told_apart(file, wanted[file], group, taken, names[file]) for group in alike.values() for file in group
    }


def _plain(file: PurePosixPath) -> str:
    """The path without its suffix; nothing where it leads elsewhere, or has a part that not every disk takes."""
    stem = file.with_name(stem_of(file.name)) if file.name else file
    return stem.as_posix() if all(_is_plain(part) for part in stem.parts) and not file.is_absolute() else ""


def _is_plain(part: str) -> bool:
    try:
        size = len(part.encode())
    except UnicodeEncodeError:
        return False
    return part not in ("", ".", "..") and size <= LONGEST_PART and part.isprintable() and not set(part) & _FORBIDDEN


def _first_channels(files: Iterable[PurePosixPath]) -> dict[PurePosixPath, str]:
    """The stems, without channel number, of first channels in folders that hold nnU-Net's images and nothing else."""
    folders: dict[PurePosixPath, dict[PurePosixPath, re.Match[str] | None]] = defaultdict(dict)
    for file in files:
        folders[file.parent][file] = _CHANNEL.fullmatch(stem_of(file.name))
    stripped: dict[PurePosixPath, str] = {}
    for folder, inside in folders.items():
        first = {file: match[1] for file, match in inside.items() if match and match[2] == "0000"}
        bases = {match[1] if match else "" for match in inside.values()}
        if bases == set(first.values()):
            stripped |= {file: (folder / stem).as_posix() for file, stem in first.items()}
    return stripped


def _is_numbered(stem: str, taken: set[str]) -> bool:
    """Whether it could be taken for a slice of another scan."""
    match = _NUMBERED.fullmatch(stem.casefold())
    return match is not None and match[1] in taken


def _told_apart(
    file: PurePosixPath, stem: str, alike: Sequence[PurePosixPath], taken: set[str], name: str
) -> tuple[str, str]:
    """The stem where no other scan has it; else with the format in it, or with the hash of the safe name."""
    if len(alike) == 1 and not _is_numbered(stem, taken):
        return stem, ""
    suffixes = [_suffix(each) for each in alike]
    apart = f"{stem}-{_suffix(file)}"
    if len(alike) == 1 or suffixes.count(_suffix(file)) > 1 or not _suffix(file) or apart.casefold() in taken:
        apart = f"{stem}-{name.rpartition('-')[2]}"
    return apart, NOTE.format(stem=apart)


def _suffix(file: PurePosixPath) -> str:
    """`nii-gz`, in lower case."""
    return file.name.removeprefix(stem_of(file.name)).strip(".").replace(".", "-").lower()
