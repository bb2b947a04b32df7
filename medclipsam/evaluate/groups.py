"""Reads the group of each case from a column of a CSV table that names the files.

file,site
a.png,Vienna
benign/b.png,Graz      ->   {"a": "Vienna", "benign/b": "Graz"}
"""

from __future__ import annotations

from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.evaluate.masks import mask_suffix
from medclipsam.io.tables import ListedFiles, csv_rows, listed_path

FILE_COLUMN = "file"


def read_groups(path: Path, column: str, root: Path | None = None) -> dict[str, str]:
    """The group of each case: the path in the column `file`, without its ending, and the value in `column`.

    Args:
        path: the table.
        column: the one that names the group.
        root: the folder of references, which says how a name is really written.

    Raises:
        BadInput: a table that cannot be read or lacks one of the columns, or a file in two groups.
    """
    groups: dict[str, str] = {}
    files = ListedFiles(root) if root else None
    for place, file, group in csv_rows(path, (FILE_COLUMN, column)):
        name = str(files.find(file) if files else listed_path(file))
        case = name[: len(name) - len(mask_suffix(name) or "")]
        if groups.setdefault(case, group) != group:
            raise BadInput(f"{path.name}, {place}: {file!r} is in two groups, {groups[case]!r} and {group!r}")
    return groups
