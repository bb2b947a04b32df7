"""Finds what can be learned from: the masks of a `pseudolabel` folder, each beside the scan it was made from.

LABELS/manifest.jsonl   done        -> its mask, or its labels with the ignored pixels where there are some
                        not found   -> an empty mask: this is what a scan without the target looks like
                        doubtful, refused, failed, changed since     -> skipped, with the reason
SCANS/...               the scans, found by the same names and read in the same way
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medclipsam.errors import BadInput
from medclipsam.io.source import ReadOptions
from medclipsam.review.reviewed import reviewed as as_reviewed
from medclipsam.runs.cases import Case
from medclipsam.runs.finished import mask_files, number_of, reading_of, scans_of, settings_of
from medclipsam.runs.groups import Groups
from medclipsam.runs.layout import LABELS, MANIFEST, outputs_hold
from medclipsam.runs.manifest import REVIEWED, Record, read_manifest
from medclipsam.training.data.captions import Skipped

NOTHING_FOUND = "label scans that show it, or with another prompt"


@dataclass(frozen=True, kw_only=True)
class LabelledFile:
    """A scan of one or more pictures, and a label for those that are to be learned."""

    case: Case
    sha256: str
    """Hash of the scan that was labelled."""
    labels: Mapping[str, Path]
    """By the picture's name."""
    hashes: Mapping[str, str]
    """SHA-256 of each label, likewise."""
    confidence: Mapping[str, float] = field(default_factory=dict)
    """In each mask that was found, in [0, 1], likewise; a mask that a person made has none."""
    group: str


@dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """What a `pseudolabel` folder teaches about one prompt."""

    prompt: str
    files: tuple[LabelledFile, ...]
    skipped: tuple[Skipped, ...]
    reading: ReadOptions
    """How the scans were read."""
    has_ignored: bool
    """Whether labels hold pixels to be ignored."""
    source: str
    """`config_sha256` of the run that made the labels."""
    found: bool = True
    """Whether any of the masks is not empty."""


def read_pseudolabels(
    labels: Path,
    scans: Path,
    prompt: str | None = None,
    groups: Groups | None = None,
    *,
    absent: bool = True,
    reviewed: bool = False,
) -> PseudoLabels:
    """Find out what can be learned from.

    Args:
        labels: what `medclipsam pseudolabel` wrote.
        scans: the folder or table that it was given.
        prompt: which one; may be left out where there is only one.
        groups: scans that must not be split; else each is a group of its own.
        absent: learn from empty masks too, where the answer was "not found".
        reviewed: learn from what a person accepted or corrected, and from nothing else.

    Raises:
        BadInput: no such folder, a prompt that it does not have, a scan without a group, nothing to learn from.
    """
    records = read_manifest(labels / MANIFEST)
    if not records:
        raise BadInput(f"{labels} holds no {MANIFEST}", "give the output folder of medclipsam pseudolabel")
    settings = settings_of(labels)
    asked = _prompt(prompt, records.values())
    has_ignored = settings["labels"].get("ignore_band") is not None
    finder = _Finder(labels, has_ignored, scans_of(labels, scans, asked), _grouping(groups, scans), absent)
    for record in as_reviewed(labels, records.values()) if reviewed else records.values():
        if record.prompt == asked:
            finder.take(record)
    if not finder.files:
        reasons = ", ".join(sorted({skipped.reason for skipped in finder.skipped})) or "no file has this prompt"
        raise BadInput(f"{labels} holds nothing to learn {asked!r} from ({reasons})")
    return PseudoLabels(
        prompt=asked,
        files=tuple(finder.files),
        skipped=tuple(finder.skipped),
        reading=reading_of(settings),
        has_ignored=has_ignored,
        source=str(settings.get("config_sha256")),
        found=finder.found,
    )


def check_found(material: PseudoLabels) -> None:
    """Refuse to learn from empty masks alone: nnU-Net would fail while it plans, any other network find nothing.

    Raises:
        BadInput: nothing was found in any scan.
    """
    if not material.found:
        count, skipped = len(material.files), sorted(Counter(each.reason for each in material.skipped).items())
        parts = [f"nothing was found in {count} scan{'s' * (count > 1)}", *(f"{n} {why}" for why, n in skipped)]
        raise BadInput(f"there is no mask of {material.prompt!r} to learn from: {', '.join(parts)}", NOTHING_FOUND)


def confidence_of(record: Record, called: Mapping[str, str]) -> dict[str, float]:
    """The confidence in each mask of a record, where it has one.

    Args:
        called: the picture's name -> its label; what a person made (`reviewed/`) was judged by no model.
    """
    several = {picture.index: picture.confidence for picture in record.pictures}
    found = {
        image: several.get(_index(number_of(name, record)), record.confidence)
        for image, name in called.items()
        if not name.startswith(f"{REVIEWED}/")
    }
    return {image: sure for image, sure in found.items() if sure is not None}


class _Finder:
    """Sorts records into files to learn from and files that are skipped."""

    def __init__(
        self,
        folder: Path,
        has_ignored: bool,
        cases: Mapping[str, Case],
        groups: Mapping[Path, str] | None,
        absent: bool,
    ) -> None:
        self._folder, self._has_ignored, self._cases = folder, has_ignored, cases
        self._groups, self._absent = groups, absent
        self.files: list[LabelledFile] = []
        self.found = False
        """Whether any of them has a mask that is not empty."""
        self.skipped: list[Skipped] = []

    def take(self, record: Record) -> None:
        """Find the labels of one record."""
        names = self._wanted(record)
        problem = self._problem(record, names)
        if problem:
            self.skipped.append(Skipped(row=record.case, reason=problem))
            return
        self.found |= record.status == "done"
        case = self._cases[record.case]
        called = {case.name + number_of(name, record): name for name in names}
        self.files.append(
            LabelledFile(
                case=case,
                sha256=record.input_sha256 or "",
                labels={image: self._folder / name for image, name in called.items()},
                hashes={image: record.outputs[name] for image, name in called.items()},
                confidence=confidence_of(record, called),
                group=self._group(case),
            )
        )

    def _wanted(self, record: Record) -> list[str]:
        verdicts = {picture.index: picture.status for picture in record.pictures}
        return [
            name
            for name in self._labels(record)
            if self._absent or verdicts.get(_index(number_of(name, record)), record.status) != "not found"
        ]

    def _labels(self, record: Record) -> list[str]:
        """Labels with ignored pixels where the run wrote some, and a person no mask in their place; else masks."""
        masks = mask_files(record)
        is_corrected = any(name.startswith(f"{REVIEWED}/") for name in masks)
        if is_corrected or not self._has_ignored:
            return masks
        return [name for name in record.outputs if name.startswith(f"{LABELS}/")]

    def _problem(self, record: Record, names: list[str]) -> str:
        if record.status in ("refused", "failed", "begun", "doubtful"):
            return record.status
        if record.case not in self._cases:
            return "the scan is not there"
        if any(not name.endswith(".png") for name in names):
            return "not a PNG: label volumes with --format png"
        if not names:
            return "not found" if record.status == "not found" else "no label"
        if not outputs_hold(self._folder, {name: record.outputs[name] for name in names}):
            return "the label changed since it was written"
        return ""

    def _group(self, case: Case) -> str:
        if self._groups is None:
            return case.name
        if case.path not in self._groups:
            raise BadInput(f"the table of groups has no row for {case.path.name}", "name every scan in the column file")
        return self._groups[case.path]


def _index(number: str) -> int:
    """`-s0012` as 12; 0 where the file holds one image."""
    return int(number[2:]) if number else 0


def _prompt(wanted: str | None, records: Any) -> str:
    known = sorted({record.prompt for record in records if record.prompt})
    if wanted is None and len(known) == 1:
        return str(known[0])
    if wanted not in known:
        what = f"no prompt {wanted!r}" if wanted is not None else f"{len(known)} prompts"
        raise BadInput(f"the labels have {what}", f"choose one by --prompt: {', '.join(map(repr, known))}")
    return str(wanted)


def _grouping(groups: Groups | None, scans: Path) -> dict[Path, str] | None:
    if groups is None:
        return None
    root = (scans if scans.is_dir() else scans.parent).absolute()
    return {root / file: group for file, group in groups.read(root).items()}
