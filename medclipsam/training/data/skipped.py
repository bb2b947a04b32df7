"""Records the rows that a run could not use, with the reason, each once: `skipped.csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from medclipsam.errors import CannotWrite
from medclipsam.training.data.captions import Skipped


class SkippedLog:
    """`skipped.csv` of a run: each row that could not be used, once.

    Args:
        path: what it holds already stays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: set[Skipped] = set()
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self._known = {Skipped(row=row["row"], reason=row["reason"]) for row in csv.DictReader(file)}

    def __call__(self, skipped: Iterable[Skipped]) -> None:
        """Add what is new.

        Raises:
            CannotWrite: the file cannot be written.
        """
        new = [each for each in dict.fromkeys(skipped) if each not in self._known]
        if not new:
            return
        self._known.update(new)
        try:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                table = csv.writer(file)
                if file.tell() == 0:
                    table.writerow(("row", "reason"))
                table.writerows((each.row, each.reason) for each in new)
        except OSError as error:
            raise CannotWrite(f"{self._path.name} cannot be written ({error})", "choose another folder") from error
