"""Lists the files of a folder or zip; each is opened when needed, and no zip is unpacked onto a disk.

    folder/IM1, folder/b/IM2     ->   FileMember
    scan.zip: a/IM1, a/IM2       ->   ZipMember      only after `medclipsam.io.zips` found the whole archive harmless

Hidden files, and what the Finder adds to a zip, are passed over.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from medclipsam.errors import BadInput
from medclipsam.io.limits import MAX_FILE_BYTES
from medclipsam.io.zips import MAX_MEMBERS, check_contents, checked_members


class Member(Protocol):
    """Bytes that can be opened, again and again."""

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def place(self) -> str:
        """Where it lies below the folder or in the zip: for sorting, not for printing (it may hold a name)."""

    def open(self) -> BinaryIO:
        """A stream from the beginning that can seek."""


@dataclass(frozen=True, kw_only=True)
class FileMember:
    """An ordinary file."""

    path: Path
    place: str = ""

    @property
    def size(self) -> int:
        """In bytes."""
        return self.path.stat().st_size

    def open(self) -> BinaryIO:
        """See `Member`."""
        return self.path.open("rb")


@dataclass(frozen=True, kw_only=True)
class ZipMember:
    """A file in a zip; opened, it is unpacked into memory."""

    archive: zipfile.ZipFile = field(repr=False)
    info: zipfile.ZipInfo = field(repr=False)

    @property
    def size(self) -> int:
        """In bytes, unpacked."""
        return self.info.file_size

    @property
    def place(self) -> str:
        """See `Member`."""
        return self.info.filename

    def open(self) -> BinaryIO:
        """See `Member`. The zip's own check sum is held against what comes out."""
        return BytesIO(self.archive.read(self.info))


def members_of(path: Path) -> list[Member]:
    """The files in a folder, with all folders below it, or in a zip; sorted by place.

    Raises:
        BadInput: nothing in it, too many files or too large ones, or a zip that may be hostile.
    """
    found: list[Member] = list(files_below(path)) if path.is_dir() else list(_within(path))
    if not found:
        raise BadInput(f"{path.name} holds no files", "give the folder or zip of one DICOM series")
    return sorted(found, key=lambda member: member.place)


def files_below(folder: Path) -> list[FileMember]:
    """The files in a folder, with all folders below it, in no order.

    What lies behind linked folders is passed over; a linked file is the person's own doing.

    Raises:
        BadInput: too many files.
    """
    found: list[FileMember] = []
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(here) / name for name in names if not name.startswith(".")):
            if path.is_file() and 0 < path.stat().st_size <= MAX_FILE_BYTES:
                found.append(FileMember(path=path, place=path.relative_to(folder).as_posix()))
        if len(found) > MAX_MEMBERS:
            raise BadInput(f"{folder.name} holds more than {MAX_MEMBERS:,} files", "give the folder of one series")
    return found


def _within(path: Path) -> list[ZipMember]:
    check_contents(path)
    archive = zipfile.ZipFile(path)
    members = checked_members(archive, path.name)
    return [ZipMember(archive=archive, info=info) for info in members if not _is_hidden(info.filename)]


def _is_hidden(place: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(place).parts)
