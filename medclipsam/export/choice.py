"""Chooses the mask files of a record that an export takes, or says why it takes none.

    done, not found   what lies in masks/, in the one format that can be read again
    doubtful          left out; with `Rules.doubtful` what lies in doubtful/ too
    reviewed          a person's own mask in place of the run's, without the run's ignored pixels
    all others        left out, as are files that changed since they were written

This is the one place where the files of masks are chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medclipsam.runs.finished import number_of
from medclipsam.runs.layout import DOUBTFUL, LABELS, MASKS, outputs_hold
from medclipsam.runs.manifest import REVIEWED, Record

GIVEN = ("done", "not found")
READABLE = (".nii.gz", ".nrrd", ".mha", ".mgz", ".png", ".npy")
"""Endings of mask files that are read again, the preferred ones first: a volume in one file before its slices."""
UNREADABLE = "no mask that can be read again: label with --format auto or png"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which masks are wanted."""

    doubtful: bool = False
    """Take masks of less confidence than was asked for, too."""
    reviewed: bool = False
    """Take what a person accepted or corrected, and nothing else; see `medclipsam.review.reviewed`."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The files of one prompt on one scan."""

    masks: Mapping[str, Sequence[Path]]
    """By what follows the scan's stem (nothing, or the number of an image such as `-s0003`): masks to be united."""
    labels: Mapping[str, Path] = field(default_factory=dict)
    """Training labels with the pixels to be ignored, likewise."""
    withheld: frozenset[int] = frozenset()
    """Images of the scan, by their index in the file, whose mask is not taken."""


def choose(record: Record, folder: Path, rules: Rules) -> Chosen | str:
    """What is taken of a record's files, or why nothing is.

    Args:
        record: what became of one prompt on one scan.
        folder: of the run.
        rules: what is wanted.
    """
    if record.status not in GIVEN and not (record.status == "doubtful" and rules.doubtful):
        return str(record.status)
    kinds = (MASKS, REVIEWED, DOUBTFUL) if rules.doubtful else (MASKS, REVIEWED)
    named = [_Named.of(name, record) for name in record.outputs]
    masks = [each for each in named if each.kind in kinds]
    if not masks:
        return "no mask"
    ending = next((known for known in READABLE if any(each.ending == known for each in masks)), None)
    if ending is None:
        return UNREADABLE
    taken = [each for each in masks if each.ending == ending]
    is_corrected = any(each.kind == REVIEWED for each in taken)
    labels = [each for each in named if each.kind == LABELS and each.ending in READABLE and not is_corrected]
    if not outputs_hold(folder, {each.name: record.outputs[each.name] for each in (*taken, *labels)}):
        return "the mask changed since it was written"
    return Chosen(
        masks={
            number: [folder / each.name for each in taken if each.number == number]
            for number in dict.fromkeys(each.number for each in taken)
        },
        labels={each.number: folder / each.name for each in labels},
        withheld=frozenset(
            picture.index for picture in record.pictures if picture.status == "doubtful" and not rules.doubtful
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Named:
    """What the name of a run's file says."""

    name: str
    kind: str
    number: str
    ending: str

    @classmethod
    def of(cls, name: str, record: Record) -> _Named:
        number = number_of(name, record)
        ending = Path(name).name.removeprefix(Path(record.stem).name + number)
        return cls(name=name, kind=name.partition("/")[0], number=number, ending=ending)
