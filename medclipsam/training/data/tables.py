"""Reads the rows of a CSV table, a JSONL file or a webdataset shard as mappings; broken ones say why.

A webdataset shard is a plain tar in which files of one sample share their name up to the first dot:

    case1.jpg  case1.txt  case2.png  case2.json   ->   {"image": TarMember, "caption": ...}  ...

Shards are indexed once and then read at any place, so that order, split and resume work as for a table.
"""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from medclipsam.errors import BadInput
from medclipsam.io.tables import SEPARATOR_TOLD, separator_of, table_encoding

TABLES = (".csv", ".tsv", ".txt")
TEXTS = (".txt", ".caption")
"""Files of a shard that hold a caption."""


@dataclass(frozen=True, kw_only=True)
class TarMember:
    """A file inside a tar that is not compressed."""

    shard: Path
    name: str
    offset: int
    """Place of the content's first byte in the shard."""
    size: int
    """In bytes."""

    def read(self) -> bytes:
        """The file's content."""
        with self.shard.open("rb") as shard:
            shard.seek(self.offset)
            return shard.read(self.size)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table; `problem` says why it could not be read."""

    label: str
    """The table's name and the line or key."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """By column; nested JSON keys are joined by dots."""
    problem: str = ""


def read_texts(path: Path, where_none: str) -> list[dict[str, str]]:
    """The rows of a table by their columns, in small letters: texts without space around them, at least one row.

    Args:
        path: see `read_rows`.
        where_none: what to do where there is no such file.

    Raises:
        BadInput: no table, no rows, or a row that is broken.
    """
    if not path.is_file():
        raise BadInput(f"there is no {path}", where_none)
    rows = []
    for row in read_rows(path):
        if row.problem:
            raise BadInput(f"{row.label}: {row.problem}", "mend the row")
        rows.append({str(name).strip().lower(): str(value or "").strip() for name, value in row.values.items()})
    if not rows:
        raise BadInput(f"{path.name} has no rows", "give one for each image and target")
    return rows


def read_rows(path: Path) -> Iterator[Row]:
    """All rows of a table, a shard, or a folder of shards in the order of their names.

    Raises:
        BadInput: no such file, a kind that is not known, or a folder or tar without samples.
    """
    if path.is_dir():
        shards = sorted(path.glob("*.tar"))
        if not shards:
            raise BadInput(f"the folder {path.name} holds no .tar shards", "give a CSV, a JSONL file or shards")
        for shard in shards:
            yield from _shard_rows(shard)
        return
    if not path.is_file():
        raise BadInput(f"there is no table of captions {path}", "give a CSV, a JSONL file or shards")
    readers = {".jsonl": _jsonl_rows, ".tar": _shard_rows} | dict.fromkeys(TABLES, _csv_rows)
    if path.suffix.lower() not in readers:
        raise BadInput(f"captions in {path.name} cannot be read", f"use one of {', '.join(sorted(readers))}")
    yield from readers[path.suffix.lower()](path)


def _csv_rows(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding=table_encoding(path), errors="replace") as file:
        header = file.readline()
        told = SEPARATOR_TOLD.fullmatch(header)
        file.seek(file.tell() if told else 0)
        table = csv.DictReader(file, delimiter=told[1] if told else separator_of(header))
        while True:
            label = f"{path.name}:{table.line_num + 1}"
            try:
                values = next(table)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(label=label, problem=f"broken row ({error})")
                continue
            if None in values:
                yield Row(label=label, problem="more fields than columns")
            else:
                yield Row(label=label, values=values)


def _jsonl_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _json_row(line, f"{path.name}:{number}")


def _json_row(text: str | bytes, label: str) -> Row:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return Row(label=label, problem="not JSON")
    if not isinstance(content, dict):
        return Row(label=label, problem="not a JSON object")
    return Row(label=label, values=dict(_flat(content)))


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shard_rows(path: Path) -> Iterator[Row]:
    try:
        with tarfile.open(path, "r:") as tar:
            members = [member for member in tar if member.isreg() and "." in PurePosixPath(member.name).name]
            for key, files in groupby(members, key=lambda member: _key(member.name)):
                yield _sample(path, key, list(files), tar)
    except tarfile.TarError as error:
        raise BadInput(f"{path.name} is not a plain tar ({error})", "give shards of the webdataset layout") from error


def _sample(path: Path, key: str, files: list[tarfile.TarInfo], tar: tarfile.TarFile) -> Row:
    """What the files of one key say together: JSON its keys, text the caption, anything else is the image."""
    label = f"{path.name}:{key}"
    values: dict[str, Any] = {}
    for member in sorted(files, key=lambda member: member.name.lower().endswith(TEXTS)):
        if member.name.lower().endswith(".json"):
            row = _json_row(_content(tar, member), label)
            if row.problem:
                return row
            values = dict(row.values) | values
        elif member.name.lower().endswith(TEXTS):
            values["caption"] = _content(tar, member).decode("utf-8", errors="replace")
        else:
            values["image"] = TarMember(shard=path, name=member.name, offset=member.offset_data, size=member.size)
    return Row(label=label, values=values, problem="" if isinstance(values.get("image"), TarMember) else "no image")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""


def _key(name: str) -> str:
    """The name up to the first dot after the last slash."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.split(".", 1)[0]
