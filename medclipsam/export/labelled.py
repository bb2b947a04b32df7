"""Finds the masks of a `pseudolabel` folder, each beside the scan that it was made from.

done         its mask                              not found     an empty mask
doubtful     left out, and counted, as are refused and failed scans, and masks that changed since
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.io.source import ReadOptions
from medclipsam.review.reviewed import reviewed as as_reviewed
from medclipsam.runs.cases import Case
from medclipsam.runs.finished import mask_files, number_of, reading_of, scans_of, settings_of
from medclipsam.runs.layout import MANIFEST, outputs_hold
from medclipsam.runs.manifest import Record, read_manifest

GIVEN = ("done", "not found")


@dataclass(frozen=True, kw_only=True)
class LabelledScan:
    """A scan and its masks."""

    path: Path
    file: str
    """Its path below the folder of scans."""
    name: str
    """What its files are called in the export: its path without suffix, folders parted by two underscores."""
    masks: Mapping[str, Mapping[str, Path]]
    """By what follows the scan's stem (nothing, or the number of an image such as `-s0003`), then by prompt."""
    confidences: Mapping[str, float | None]
    """Masks of each prompt."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """All that a folder has to give."""

    scans: Sequence[LabelledScan]
    prompts: Sequence[str]
    reading: ReadOptions
    """How the scans were read."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """How many masks were left out, by the reason."""


def read_labelled(labels: Path, images: Path, prompts: Sequence[str] = (), *, reviewed: bool = False) -> Labelled:
    """Find masks and scans.

    Args:
        labels: what `medclipsam pseudolabel` wrote.
        images: the folder or table of scans that it was given.
        prompts: whose masks are wanted; all where none is named.
        reviewed: give what a person accepted or corrected, and nothing else.

    Raises:
        BadInput: no such folder, a prompt that it does not have, or no mask that can be given.
    """
    records = list(read_manifest(labels / MANIFEST).values())
    if not records:
        raise BadInput(f"{labels} holds no {MANIFEST}", "give the output folder of medclipsam pseudolabel")
    known = sorted({record.prompt for record in records if record.prompt})
    unknown = [prompt for prompt in prompts if prompt not in known]
    if unknown:
        raise BadInput(f"the labels have no prompt {unknown[0]!r}", f"choose of {', '.join(map(repr, known))}")
    wanted = list(dict.fromkeys(prompts)) or known
    root = (images if images.is_dir() else images.parent).absolute()
    gathering = _Gathering(labels, scans_of(labels, images, known[0]), root)
    for record in as_reviewed(labels, records) if reviewed else records:
        if record.prompt in wanted:
            gathering.take(record)
    if not gathering.found:
        raise BadInput(f"{labels} holds no masks to export", _told(gathering.left_out) or "run medclipsam pseudolabel")
    return Labelled(
        scans=gathering.scans(),
        prompts=wanted,
        reading=reading_of(settings_of(labels)),
        left_out=dict(sorted(gathering.left_out.items())),
    )


class _Gathering:
    """Sorts records by scan."""

    def __init__(self, folder: Path, cases: Mapping[str, Case], root: Path) -> None:
        self._folder, self._cases, self._root = folder, cases, root
        self.found: dict[str, list[Record]] = {}
        self.left_out: Counter[str] = Counter()

    def take(self, record: Record) -> None:
        """One more."""
        problem = self._problem(record)
        if problem:
            self.left_out[problem] += 1
        else:
            self.found.setdefault(record.case, []).append(record)

    def scans(self) -> list[LabelledScan]:
        """Those of which something was found."""
        names = {case: records[0].stem.replace("/", "__") for case, records in self.found.items()}
        alike = Counter(names.values())
        return [
            self._scan(records, names[case] if alike[names[case]] == 1 else case)
            for case, records in self.found.items()
        ]

    def _scan(self, records: Sequence[Record], name: str) -> LabelledScan:
        masks: dict[str, dict[str, Path]] = {}
        for record in records:
            for output in mask_files(record):
                masks.setdefault(number_of(output, record), {})[str(record.prompt)] = self._folder / output
        path = self._cases[records[0].case].path
        return LabelledScan(
            path=path,
            file=path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else path.name,
            name=name,
            masks=masks,
            confidences={str(record.prompt): record.confidence for record in records},
        )

    def _problem(self, record: Record) -> str:
        if record.status not in GIVEN:
            return record.status
        if record.case not in self._cases:
            return "the scan is not there"
        masks = mask_files(record)
        if not masks:
            return "no mask"
        held = outputs_hold(self._folder, {name: record.outputs[name] for name in masks})
        return "" if held else "the mask changed since it was written"


def _told(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in left_out.items())
