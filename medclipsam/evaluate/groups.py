"""Which group does each case belong to? A column of a CSV table that names the files.

file,site
a.png,Vienna
benign/b.png,Graz      ->   {"a": "Vienna", "benign/b": "Graz"}
"""

from __future__ import annotations

from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.evaluate.masks import mask_suffix
from medclipsam.prompt_table import csv_rows

FILE_COLUMN = "file"


def read_groups(path: Path, column: str) -> dict[str, str]:
    """The group of each case: the path in the column `file`, without its ending, and the value in `column`.

    Raises:
        BadInput: a table that cannot be read or lacks one of the columns, or a file in two groups.
    """
    groups: dict[str, str] = {}
    for place, file, group in csv_rows(path, (FILE_COLUMN, column)):
        case = file[: len(file) - len(mask_suffix(file) or "")]
        if groups.setdefault(case, group) != group:
            raise BadInput(f"{path.name}, {place}: {file!r} is in two groups, {groups[case]!r} and {group!r}")
    return groups
