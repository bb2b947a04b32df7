"""Finds the masks of a `pseudolabel` folder, each beside the scan that it was made from.

done, not found        its mask, empty where nothing was found
doubtful, refused ...  left out, and counted by the reason; so are scans that changed, see `medclipsam.export.choice`
one of its prompts     a scan of which one prompt has no mask to give is left out with all: without it the scan
is left out            would say that what the prompt names is absent
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from medclipsam.errors import BadInput
from medclipsam.export.choice import Chosen, Rules, choose
from medclipsam.io.source import ReadOptions
from medclipsam.review.reviewed import reviewed as as_reviewed
from medclipsam.runs.cases import Case
from medclipsam.runs.finished import reading_of, scans_of, settings_of
from medclipsam.runs.groups import Groups
from medclipsam.runs.layout import MANIFEST
from medclipsam.runs.manifest import Record, read_manifest
from medclipsam.runs.reading import input_digest

NOT_REVIEWED = "not accepted in the review"
NOT_ALL = "another prompt of the scan was left out"


@dataclass(frozen=True, kw_only=True)
class LabelledScan:
    """A scan and its masks."""

    path: Path
    file: str
    """Its path below the folder of scans."""
    name: str
    """What its files are called in the export."""
    group: str
    """Scans of one group are never parted into training and validation."""
    chosen: Mapping[str, Chosen]
    """The files of its masks, by prompt."""
    confidences: Mapping[str, float | None]
    """Confidence of each prompt's masks."""

    @property
    def withheld(self) -> frozenset[int]:
        """Images, by their index in the file, that lack the mask of a prompt."""
        return frozenset[int]().union(*(each.withheld for each in self.chosen.values()))


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """All that a folder has to give."""

    scans: Sequence[LabelledScan]
    prompts: Sequence[str]
    reading: ReadOptions
    """How the scans were read."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of masks that were left out, by the reason."""
    has_ignored: bool = False
    """Whether the run wrote training labels with pixels to be ignored."""


def read_labelled(
    labels: Path,
    images: Path,
    prompts: Sequence[str] = (),
    rules: Rules | None = None,
    *,
    groups: Groups | None = None,
    own_names: bool = False,
) -> Labelled:
    """Find masks and scans.

    Args:
        labels: what `medclipsam pseudolabel` wrote.
        images: the folder or table of scans that it was given.
        prompts: whose masks are wanted; all where none is named.
        rules: which masks are taken.
        groups: scans that belong together; else each is a group of its own.
        own_names: call scans as they are called, folders parted by two underscores, in place of harmless words and
            hashes that the manifest of `labels` tells.

    Raises:
        BadInput: no such folder, a prompt that it does not have, a scan without a group, or no mask that can be given.
    """
    records = list(read_manifest(labels / MANIFEST).values())
    if not records:
        raise BadInput(f"{labels} holds no {MANIFEST}", "give the output folder of medclipsam pseudolabel")
    wanted = _wanted(prompts, records)
    settings = settings_of(labels)
    root = (images if images.is_dir() else images.parent).absolute()
    cases = scans_of(labels, images, wanted[0])
    rules = rules or Rules()
    given = {record.key: record for record in (as_reviewed(labels, records) if rules.reviewed else records)}
    gathering = _Gathering(labels, cases, rules)
    for record in records:
        if record.prompt in wanted:
            gathering.take(record, given.get(record.key))
    found = gathering.whole()
    if not found:
        raise BadInput(f"{labels} holds no masks to export", _told(gathering.left_out) or "run medclipsam pseudolabel")
    naming = _Naming(root, {case: records[0] for case, (records, _) in found.items()}, groups, own_names)
    return Labelled(
        scans=[naming.scan(cases[case], records, chosen) for case, (records, chosen) in found.items()],
        prompts=wanted,
        reading=reading_of(settings),
        left_out=dict(sorted(gathering.left_out.items())),
        has_ignored=settings["labels"].get("ignore_band") is not None,
    )


def _wanted(prompts: Sequence[str], records: Iterable[Record]) -> list[str]:
    known = sorted({record.prompt for record in records if record.prompt})
    unknown = [prompt for prompt in prompts if prompt not in known]
    if unknown or not known:
        spoken = f"no prompt {unknown[0]!r}" if unknown else "no prompts"
        raise BadInput(f"the labels have {spoken}", f"choose of {', '.join(map(repr, known))}")
    return list(dict.fromkeys(prompts)) or known


class _Gathering:
    """Sorts records by scan."""

    def __init__(self, folder: Path, cases: Mapping[str, Case], rules: Rules) -> None:
        self._folder, self._cases, self._rules = folder, cases, rules
        self._digests: dict[str, str] = {}
        self._found: dict[str, tuple[list[Record], dict[str, Chosen]]] = {}
        self._incomplete: set[str] = set()
        self.left_out: Counter[str] = Counter()

    def take(self, record: Record, given: Record | None) -> None:
        """One more.

        Args:
            record: as the run left it.
            given: as it is to be exported; None: it is not.
        """
        chosen = self._problem(record) or (NOT_REVIEWED if given is None else choose(given, self._folder, self._rules))
        if isinstance(chosen, str):
            self.left_out[chosen] += 1
            self._incomplete.add(record.case)
            return
        records, masks = self._found.setdefault(record.case, ([], {}))
        records.append(given or record)
        masks[str(record.prompt)] = chosen

    def whole(self) -> dict[str, tuple[list[Record], dict[str, Chosen]]]:
        """Records and masks of the scans that lack none."""
        for case in self._incomplete & self._found.keys():
            self.left_out[NOT_ALL] += len(self._found.pop(case)[0])
        return self._found

    def _problem(self, record: Record) -> str:
        if record.case not in self._cases:
            return "the scan is not there"
        if record.input_sha256 is not None and self._digest(record.case) != record.input_sha256:
            return "the scan changed since it was labelled"
        return ""

    def _digest(self, case: str) -> str:
        if case not in self._digests:
            try:
                self._digests[case] = input_digest(self._cases[case].path)
            except BadInput:
                self._digests[case] = "it cannot be read"
        return self._digests[case]


class _Naming:
    """Says what scans are called in the export, and which belong together."""

    def __init__(self, root: Path, firsts: Mapping[str, Record], groups: Groups | None, own_names: bool) -> None:
        self._root, self._own_names = root, own_names
        self._groups = groups.read(root) if groups else None
        self._table = groups.path.name if groups else ""
        self._flat = {case: record.stem.replace("/", "__") for case, record in firsts.items()}
        self._alike = Counter(self._flat.values())

    def scan(self, case: Case, records: Sequence[Record], chosen: Mapping[str, Chosen]) -> LabelledScan:
        """One scan, named."""
        inside = case.path.is_relative_to(self._root)
        place = PurePosixPath(case.path.relative_to(self._root).as_posix() if inside else case.path.name)
        return LabelledScan(
            path=case.path,
            file=place.as_posix(),
            name=self._name(case.name),
            group=self._group(case, place),
            chosen=chosen,
            confidences={str(record.prompt): record.confidence for record in records},
        )

    def _name(self, case: str) -> str:
        flat = self._flat[case]
        return flat if self._own_names and self._alike[flat] == 1 else case

    def _group(self, case: Case, place: PurePosixPath) -> str:
        if self._groups is None:
            return case.name
        if not self._groups.get(place):
            raise BadInput(f"{self._table} has no group for {case.spoken}", "name every scan in the column file")
        return self._groups[place]


def _told(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in left_out.items())
