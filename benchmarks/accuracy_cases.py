"""Which images are asked, and what: every question of an image stands in its case before any model is loaded.

    index.csv -> read_cases -> planned(limits) -> Case(image, questions), folders taking turns

An image is encoded once and asked all its questions. Figures are those of one split; a target that no image of it shows
is asked about on validation images, or else on training images, and its rows say so.
"""

from __future__ import annotations

import csv
import hashlib
import tomllib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from medclipsam.training.embedded.corpus import Corpus

NONSENSE = ("ljashdbflsabdf", "sitting on a chair")
NEVER_TAUGHT = Path(__file__).with_name("never_taught.toml")
PAIRED = ("left lung", "right lung")
PAPER_TASKS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "Breast ultrasound": (("breast_us_busi", "breast tumor"),),
    "Brain MRI": (("brain_mri_lgg", "brain tumor"), ("brain_mri_brisc", "brain tumor")),
    "Lung X-ray": (("chest_xray_montgomery", "lungs"), ("chest_xray_shenzhen", "lungs")),
    "Lung CT": (("lung_ct_covid20", "lungs"),),
}
"""The four tasks of MedCLIP-SAMv2, in the main folders."""
SIDES_OF = "lungs"
FRONTAL = ("x-ray", "ct")
"""Modalities whose pictures of lungs show the patient's left on the viewer's right."""
OTHERS = ("other_", "broad_")
"""How folders begin that are no home of a target: those of other hospitals, and small ones."""
FALLBACK = ("val", "train")
"""Splits that show a target which no image of the measured split does; the better one first."""

Item = TypeVar("Item")
Kind = Literal[
    "target", "absent", "wrong body", "nonsense", "never taught", "wording", "side", "whole box", "true box", "other"
]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What an image is asked."""

    kind: Kind
    target: str
    """What the answer is held against."""
    text: str
    """The words."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One image with the masks of all its targets."""

    dataset: str
    image: str
    masks: Mapping[str, str]
    modality: str = ""
    split: str = "test"
    absent: frozenset[str] = frozenset()
    """Those of `masks` that are empty."""
    questions: tuple[Question, ...] = ()

    @property
    def shown(self) -> list[str]:
        """The targets that are there."""
        return [target for target in self.masks if target not in self.absent]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is asked; every number is of images, 0 takes all, but for `wrong` and `never`."""

    each: int = 0
    """Of each folder and target."""
    tasks: int = 0
    """Of each folder of the paper's tasks; 0: as of the others."""
    absent: int = 80
    """Of each folder, for targets that are not there."""
    fallback: int = 3
    """Of a target that the measured split does not show."""
    reworded: int = 12
    """Of each target, in other words."""
    sides: int = 20
    """Of each modality."""
    wrong: int = 6
    """Targets of other parts of the body, drawn for each image."""
    never: int = 2
    """Structures that were never taught, for each image in turn."""
    boxes: bool = False
    """Whether Segment Anything is also given the whole image and the true box."""


def read_cases(root: Path, split: str | None, limit: int = 0) -> list[Case]:
    """The images of a split (None: of all) in the table's order; with a limit, evenly spread ones of each folder."""
    grouped: dict[tuple[str, str], list[Mapping[str, str]]] = defaultdict(list)
    with (root / "index.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            if split in (None, row["split"]):
                grouped[row["dataset"], row["image"]].append(row)
    folders: dict[str, list[Case]] = defaultdict(list)
    for (dataset, image), rows in grouped.items():
        folders[dataset].append(
            Case(
                dataset=dataset,
                image=image,
                masks={row["target"]: row["mask"] for row in rows},
                modality=rows[0].get("modality", ""),
                split=rows[0]["split"],
                absent=frozenset(row["target"] for row in rows if row.get("present") == "0"),
            )
        )
    return [case for cases in folders.values() for case in spread(cases, limit)]


def spread(items: Sequence[Item], limit: int) -> list[Item]:
    """At most `limit` of them, evenly spread; 0 takes all."""
    if not limit or len(items) <= limit:
        return list(items)
    return [items[index] for index in np.linspace(0, len(items) - 1, limit).astype(int)]


def in_turns(cases: Iterable[Case]) -> list[Case]:
    """Folders take turns, so that a run that is ended early has asked of each alike."""
    folders: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        folders[case.dataset].append(case)
    return in_turns_of(folders.values())


def in_turns_of(groups: Iterable[Sequence[Item]]) -> list[Item]:
    """The first of each group, the second of each, and so on."""
    return [item for turn in zip_longest(*groups) for item in turn if item is not None]


def training_images(cases: Iterable[Case]) -> Counter[str]:
    """How many training images show each target."""
    return Counter(target for case in cases if case.split == "train" for target in case.shown)


def planned(
    every: Sequence[Case], corpus: Corpus, taught: Collection[str], limits: Limits, *, split: str, seed: int
) -> list[Case]:
    """The cases to ask, with their questions.

    Args:
        every: the images of all splits.
        taught: the targets that the model knows: others are not asked for where they are absent.
    """
    known = [case for case in every if case.dataset in corpus.folders]
    main = in_turns(_main(known, limits, split))
    asked: dict[str, Case] = {}
    planner = _Planner(corpus, frozenset(taught), limits, seed)
    for case in main:
        asked[case.image] = replace(case, questions=tuple(planner.everything(case)))
    for case, targets in _fallback(known, limits.fallback, split):
        asked[case.image] = replace(case, questions=tuple(planner.targets(case, targets)))
    for case in in_turns(_absent(known, corpus, limits.absent, split)):
        already = asked[case.image].questions if case.image in asked else ()
        more = planner.absent(case) if not any(question.kind == "absent" for question in already) else ()
        asked[case.image] = replace(case, questions=(*already, *more))
    return in_turns(case for case in asked.values() if case.questions)


def _by_folder_and_target(cases: Iterable[Case]) -> Mapping[tuple[str, str], list[Case]]:
    found: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in cases:
        for target in case.shown:
            found[case.dataset, target].append(case)
    return found


def _main(cases: Sequence[Case], limits: Limits, split: str) -> list[Case]:
    """Of each folder and target so many images that show it, each once."""
    paper = {group for groups in PAPER_TASKS.values() for group in groups}
    groups = _by_folder_and_target(case for case in cases if case.split == split)
    most = {group: limits.tasks if limits.tasks and group in paper else limits.each for group in groups}
    chosen = {case.image: case for group, shown in groups.items() for case in spread(shown, most[group])}
    return [case for case in cases if case.image in chosen]


def _fallback(cases: Sequence[Case], limit: int, split: str) -> Iterator[tuple[Case, list[str]]]:
    """Images of other splits for the targets that the measured one never shows, each with those targets."""
    lacking = dict.fromkeys(target for case in cases for target in case.shown)
    asked: dict[str, list[str]] = defaultdict(list)
    for other in (split, *FALLBACK):
        shown: dict[str, list[Case]] = defaultdict(list)
        for case in cases:
            for target in case.shown if case.split == other else ():
                shown[target].append(case)
        for target in [target for target in lacking if target in shown]:
            del lacking[target]
            for case in spread(shown[target], limit) if other != split else ():
                asked[case.image].append(target)
    return ((case, asked[case.image]) for case in cases if case.image in asked)


def _absent(cases: Sequence[Case], corpus: Corpus, limit: int, split: str) -> list[Case]:
    """Images on which something was searched for and is not there; none that the model learned from."""
    folders: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if case.absent and case.split in (split, "val") and corpus.folder(case.dataset).complete:
            folders[case.dataset].append(case)
    return [case for group in folders.values() for case in spread(group, limit)]


class _Planner:
    """Writes the questions of one image after the other; some are asked of a few images of each target alone."""

    def __init__(self, corpus: Corpus, taught: frozenset[str], limits: Limits, seed: int) -> None:
        self._corpus, self._taught, self._limits, self._seed = corpus, taught, limits, seed
        self._never = never_taught()
        self._turn = 0
        self._counts: Counter[tuple[str, str]] = Counter()

    def everything(self, case: Case) -> Iterator[Question]:
        """All that an image of the measured split is asked."""
        yield from self.targets(case, case.shown)
        yield from self.absent(case)
        for target in case.shown if self._limits.boxes else ():
            yield Question(kind="whole box", target=target, text=target)
            yield Question(kind="true box", target=target, text=target)
        for text in self._wrong(case):
            yield Question(kind="wrong body", target="", text=text)
        for text in NONSENSE:
            yield Question(kind="nonsense", target="", text=text)
        for _ in range(self._limits.never):
            yield Question(kind="never taught", target="", text=self._never[self._turn % len(self._never)])
            self._turn += 1
        if (
            SIDES_OF in case.shown
            and case.modality in FRONTAL
            and self._take("side", case.modality, self._limits.sides)
        ):
            yield from (Question(kind="side", target=SIDES_OF, text=text) for text in PAIRED)

    def targets(self, case: Case, targets: Iterable[str]) -> Iterator[Question]:
        """The named targets, which are there, and some of them in other words."""
        for target in targets:
            yield Question(kind="target", target=target, text=target)
            if target in self._taught and self._take("wording", target, self._limits.reworded):
                for text in self._corpus.concept(target).held_out:
                    yield Question(kind="wording", target=target, text=text)

    def absent(self, case: Case) -> Iterator[Question]:
        """The taught targets that are not there."""
        if self._corpus.folder(case.dataset).complete:
            for target in sorted(case.absent & self._taught):
                yield Question(kind="absent", target=target, text=target)

    def _wrong(self, case: Case) -> list[str]:
        """Some of the taught targets that no image of this part of the body shows."""
        body = self._corpus.folder(case.dataset).body
        elsewhere = [
            concept.target
            for concept in self._corpus.concepts
            if concept.target in self._taught and concept.target not in case.masks and body not in concept.visible_in
        ]
        content = hashlib.sha256(f"{self._seed} {case.image}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(content[:8], "little"))
        count = min(self._limits.wrong, len(elsewhere)) if body else 0
        return [elsewhere[place] for place in generator.choice(len(elsewhere), count, replace=False)] if count else []

    def _take(self, kind: str, what: str, limit: int) -> bool:
        self._counts[kind, what] += 1
        return not limit or self._counts[kind, what] <= limit


def never_taught(path: Path = NEVER_TAUGHT) -> tuple[str, ...]:
    """Structures outside of the corpus and of the data."""
    return tuple(tomllib.loads(path.read_text("utf-8"))["structures"])
