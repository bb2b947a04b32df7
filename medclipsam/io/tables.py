"""Reads the tables that people write of their files, whatever system or spreadsheet wrote them.

    file;prompt                      semicolons, commas or tabs; UTF-8 or UTF-16, with a byte order mark or without
    images\\a.png; breast tumor      both slashes part folders; space behind a separator is none of the value
    File,Prompt                      column names in any case

A file is the one of that path; where there is none, the one whose path differs in case or in the composition of accents
alone, as Windows and macOS would find it; where there is none either, the one of the path behind the folder's own name
(`C:\\study\\scans\\a.png` in a folder `scans`).
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath

from medclipsam.errors import BadInput

Row = tuple[str, ...]
"""Where it stands in the table, and its values."""
SEPARATORS = ",\t;"
SEPARATOR_TOLD = re.compile(r"sep=(.)\r?\n")
"""A first line of its own, by which Excel knows the separator."""
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}


def table_encoding(path: Path) -> str:
    """The encoding that the first bytes of a text file tell; UTF-8 where they tell none.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        first = stream.read(3)
    return next((encoding for mark, encoding in _MARKS.items() if first.startswith(mark)), "utf-8")


def table_text(path: Path) -> str:
    """The text of a table.

    Raises:
        BadInput: it cannot be read, or is neither UTF-8 nor UTF-16.
    """
    try:
        return path.read_bytes().decode(table_encoding(path))
    except UnicodeDecodeError as error:
        raise BadInput(f"{path.name} cannot be read as UTF-8 text", "save it as CSV UTF-8") from error
    except OSError as error:
        raise BadInput(f"{path.name} cannot be read", error.strerror or type(error).__name__) from error


def separator_of(header: str) -> str:
    """What parts the columns: of the possible ones the most frequent in the first line."""
    return max(SEPARATORS, key=header.count)


def csv_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Where each row of a CSV table stands (`line 3`), and its values in `columns`; absent values are empty.

    Raises:
        BadInput: a table that cannot be read or lacks a column.
    """
    text = table_text(path)
    told = SEPARATOR_TOLD.match(text)
    text = text[told.end() :] if told else text
    separator = told[1] if told else separator_of(text[: text.find("\n") + 1] or text)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    before = 1 if told else 0
    try:
        named = _columns(path.name, reader.fieldnames or (), columns)
        for row in reader:
            yield f"line {before + reader.line_num}", *(row[column] or "" for column in named)
    except csv.Error as error:
        raise BadInput(f"{path.name}, line {reader.line_num}: {error}") from error


def _columns(table: str, names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The table's own names of the wanted columns: as they are, else in another case."""
    alike = {name.strip().casefold(): name for name in reversed(names)} | {name: name for name in names}
    found = {column: alike.get(column) or alike.get(column.casefold()) for column in wanted}
    missing = [column for column, name in found.items() if name is None]
    if missing:
        raise BadInput(f"{table} has no column {' and no column '.join(missing)}", "name it in the first line")
    return [name for name in found.values() if name is not None]


def listed_path(text: str) -> PurePosixPath:
    """A path as a table has it; both slashes part folders."""
    return PurePosixPath(PureWindowsPath(text.strip()).as_posix())


class ListedFiles:
    """The files of a folder as tables name them.

    Args:
        root: the folder that paths count from.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[Path, dict[str, list[str]]] = {}

    def find(self, text: str) -> PurePosixPath:
        """The file that is meant, by its path below the folder; the path as it is written where there is none."""
        plain = listed_path(text)
        for place in (PurePosixPath(text), plain):
            with suppress(OSError, ValueError):
                if (self._root / place).is_file():
                    return place
        return self._alike(plain) or self._behind_root(plain) or plain

    def _behind_root(self, place: PurePosixPath) -> PurePosixPath | None:
        """The file by the path behind the folder's own name, which a table beside or above the folder has in front."""
        names = [_folded(part) for part in place.parts[:-1]]
        own = _folded(self._root.absolute().name)
        if own not in names:
            return None
        return self._alike(PurePosixPath(*place.parts[names.index(own) + 1 :]))

    def _alike(self, place: PurePosixPath) -> PurePosixPath | None:
        """The only file whose path differs in case or composition alone; None where there are none or several."""
        if place.is_absolute() or ".." in place.parts:
            return None
        found = PurePosixPath()
        for part in place.parts:
            names = self._below(self._root / found).get(_folded(part), [])
            if len(names) != 1:
                return None
            found /= names[0]
        return found

    def _below(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._names:
            names: dict[str, list[str]] = defaultdict(list)
            with suppress(OSError):
                for path in sorted(folder.iterdir()):
                    names[_folded(path.name)].append(path.name)
            self._names[folder] = names
        return self._names[folder]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
