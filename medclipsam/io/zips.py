"""Refuses zips that are not safe to read, by their table of contents, before one byte is unpacked.

    ../../etc/passwd   /abs   C:\\x   link -> /etc      refused: odd paths, links and devices
    42.zip             10 GB of zeros in 10 MB          refused: totals, ratios, numbers of members, overlaps
    password, lzma                                      refused: not read here

Nothing is ever written to a path that a zip names; a zip that tries is refused whole all the same.
"""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from medclipsam.errors import BadInput
from medclipsam.io.limits import MAX_DECODED_BYTES

MAX_MEMBERS = 20_000
"""Largest number of files in a folder or zip; the longest CT series have some 3,000 slices."""
MAX_MEMBER_BYTES = 2**30
"""Largest file, unpacked, because it is unpacked into memory."""
MAX_TOTAL_BYTES = MAX_DECODED_BYTES
"""Largest sum of all files, unpacked."""
MAX_RATIO = 100
"""Unpacked to packed, of a zip that unpacks to more than `HARMLESS_BYTES`; scans have 2 to 10."""
HARMLESS_BYTES = 2**26
MAX_CONTENTS_BYTES = 2**24
"""Largest table of contents, which is read whole."""
_END, _END_BYTES, _END_64 = b"PK\5\6", 22, b"PK\6\7"
_LONGEST_COMMENT = 2**16
_NOT_READ = "pack it anew with an ordinary zip program, or unpack it"
_HOSTILE = "the zip is damaged or hostile: ask who made it"


def check_contents(path: Path) -> None:
    """Refuse a table of contents that is too long to read, by the zip's last bytes.

    Raises:
        BadInput: not a whole zip, or more than `MAX_CONTENTS_BYTES` of names.
    """
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _LONGEST_COMMENT - _END_BYTES))
        tail = stream.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise BadInput(f"{path.name}: the end of the zip is missing", "it is cut off: fetch it again")
    if tail[at - 20 : at].startswith(_END_64):
        raise BadInput(f"{path.name}: is a zip64, for more than 65,535 files or 2 GiB", "unpack it")
    size = struct.unpack_from("<L", tail, at + 12)[0]
    if size > MAX_CONTENTS_BYTES:
        raise BadInput(f"{path.name}: its table of contents has {size:,} bytes", _HOSTILE)


def checked_members(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    """The files of a zip, without its folders, if all of it is harmless.

    Raises:
        BadInput: see the module's text.
    """
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise BadInput(f"{name}: holds {len(members):,} files, more than {MAX_MEMBERS:,}", "give one series")
    for number, info in enumerate(members, 1):
        problem = _odd_path(info) or _odd_kind(info) or _odd_size(info)
        if problem:
            raise BadInput(f"{name}: member {number} {problem}", _HOSTILE)
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadInput(f"{name}: member {number} is encrypted or packed in a way not read here", _NOT_READ)
    if len({info.filename for info in members}) < len(members):
        raise BadInput(f"{name}: two members have one path", _HOSTILE)
    _check_totals(members, Path(archive.filename or "").stat().st_size, name)
    return [info for info in members if not info.is_dir() and info.file_size]


def _odd_path(info: zipfile.ZipInfo) -> str:
    """Said without the path itself, which may hold a name or steer a terminal."""
    stored = info.orig_filename
    windows, posix = PureWindowsPath(stored), PurePosixPath(stored)
    if posix.is_absolute() or windows.drive or windows.root:
        return "has an absolute path"
    if ".." in (*posix.parts, *windows.parts):
        return "has a path that leaves the zip"
    return "" if stored and stored.isprintable() else "has a path with control characters"


def _odd_kind(info: zipfile.ZipInfo) -> str:
    mode = info.external_attr >> 16
    ordinary = not stat.S_IFMT(mode) or stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    return "" if ordinary else "is a link or a device"


def _odd_size(info: zipfile.ZipInfo) -> str:
    if info.file_size > MAX_MEMBER_BYTES:
        return f"unpacks to {info.file_size:,} bytes, more than {MAX_MEMBER_BYTES:,}"
    return ""


def _check_totals(members: list[zipfile.ZipInfo], there: int, name: str) -> None:
    total, packed = sum(info.file_size for info in members), sum(info.compress_size for info in members)
    if packed > there:
        raise BadInput(f"{name}: its members overlap ({packed:,} bytes in a file of {there:,})", _HOSTILE)
    if total > MAX_TOTAL_BYTES:
        raise BadInput(f"{name}: unpacks to {total:,} bytes, more than {MAX_TOTAL_BYTES:,}", "give one series")
    if total > HARMLESS_BYTES and total > MAX_RATIO * packed:
        raise BadInput(f"{name}: unpacks to {total // max(1, packed):,} times its size", _HOSTILE)
