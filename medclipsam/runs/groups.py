"""Reads the table that says which scans belong together, so that none of a patient is learned from and held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medclipsam.errors import BadInput
from medclipsam.io.tables import ListedFiles, csv_rows


@dataclass(frozen=True, kw_only=True)
class Groups:
    """A table that says which scans belong together, such as those of a patient."""

    path: Path
    """CSV with a column `file`: the path below the folder of scans."""
    column: str = "group"

    def read(self, root: Path) -> dict[PurePosixPath, str]:
        """The group of each file, by its path below the folder `root`.

        Raises:
            BadInput: a table that cannot be read, or a file in two groups.
        """
        groups: dict[PurePosixPath, str] = {}
        files = ListedFiles(root)
        for place, file, group in csv_rows(self.path, ("file", self.column)):
            if groups.setdefault(files.find(file), group) != group:
                raise BadInput(f"{self.path.name}, {place}: {file!r} is in two groups")
        return groups
