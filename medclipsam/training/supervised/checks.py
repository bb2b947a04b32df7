"""Finds what is wrong with the data before the first step: each problem in one line, with how many and the first.

Files that are missing, one patient in two splits, splits without rows, sizes that differ, masks with several values,
and rows whose mask contradicts what they say is there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.training.supervised.rows import LabelledRow
from medclipsam.training.supervised.squares import Labelled
from medclipsam.types import Progress


def check_rows(rows: Sequence[LabelledRow]) -> None:
    """What can be told without decoding an image.

    Raises:
        BadInput: files that are not there, one group in two splits, or a split without rows.
    """
    for kind in ("image", "mask"):
        paths = [getattr(row, kind) for row in rows]
        _refuse([path.name for path in paths if not path.is_file()], f"{kind}s are not there", "mend the paths")
    splits: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        splits[row.group].add(row.split)
    torn = [group for group, found in splits.items() if len(found) > 1]
    told = [f"{Path(group).name} ({' and '.join(sorted(splits[group]))})" for group in torn]
    _refuse(told, "patients or images are in two splits", "keep each in one")
    for split in ("train", "val"):
        if not any(row.split == split for row in rows):
            raise BadInput(f"the split {split} has no rows", "name train and val in the column split, or leave it out")


def check_files(rows: Sequence[LabelledRow], read: Callable[[LabelledRow], Labelled], tell: Progress) -> bool:
    """Decode every image and mask once; whether every image has colours.

    Raises:
        BadInput: an image or mask that cannot be read, sizes that differ, a mask that is not binary or contradicts its
            row.
    """
    coloured, contradicting = True, []
    for done, row in enumerate(rows):
        tell("checking images and masks", done, len(rows))
        found = read(row)
        coloured &= found.coloured
        if row.present is not None and row.present != bool(found.mask.any()):
            contradicting.append(f"{row.mask.name} ({'empty' if row.present else 'not empty'})")
    _refuse(contradicting, "masks contradict the column present", "mend the mask or the column")
    return coloured


def _refuse(found: Sequence[str], problem: str, hint: str) -> None:
    if found:
        raise BadInput(f"{len(found)} {problem}: {found[0]}", hint)
