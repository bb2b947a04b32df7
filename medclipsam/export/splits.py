"""Cuts the scans of an export into folds, so that scans of one patient are all learned from or all held out."""

from __future__ import annotations

from collections.abc import Mapping

from medclipsam.export.labelled import Labelled
from medclipsam.export.options import ExportOptions
from medclipsam.refine.folds import Fold, grouped_folds

FEWEST = 2


def folds_of(names: Mapping[str, str], options: ExportOptions) -> list[Fold]:
    """Folds by whole groups: as many as are asked for, or as there are groups; none of one group.

    Args:
        names: the group of each name that is dealt.
        options: number of folds, and the seed.
    """
    count = min(options.folds, len(set(names.values())))
    return grouped_folds(names, count, options.seed) if count >= FEWEST else []


def held_out(labelled: Labelled, options: ExportOptions) -> set[str]:
    """The names of the scans of the first fold; none where there is one group only."""
    folds = folds_of({scan.name: scan.group for scan in labelled.scans}, options)
    return set(folds[0]["val"]) if folds else set()
