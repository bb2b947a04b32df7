"""Images, masks and sentences of the supervised comparison: who learns from what, and what is asked at test time.

Splits, sentences, label shares and test designs of BUSI and Kvasir are the MedCLIPSeg authors' own
(`prompts_medclipseg.csv`). The sentences hold facts of the reference: whether there is a lesion, and where. So two more
designs stand beside them: `short`, the target's name, which gives nothing away, and `located`, for hospitals without
sentences: a sentence in the authors' form with the place of the reference, as theirs have.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from accuracy_cases import spread

from medclipsam.io.label_files import read_foreground
from medclipsam.types import BoolArray

AUTHORS_DESIGNS = ("original", "contradictory", "missing_location", "overdescriptive", "underdescriptive")
OWN_DESIGNS = ("short", "empty", "shuffled", "located")
DESIGNS = (*AUTHORS_DESIGNS, *OWN_DESIGNS)
TRAINING_TEXTS = ("sentences", "short", "both", "empty", "shuffled")
NO_TEXT = "."
"""Says nothing; a table's empty cell would be filled with the target's name."""
PLACED: Mapping[str, str] = {
    "breast tumor": "One tumor at the {place} in the breast ultrasound image.",
    "polyp": "one polyp, located in {place} of the image",
}
"""The authors' form, with the place alone."""
FIRST_THIRD, LAST_THIRD = 0.33, 0.60
"""Where `top` and `left` end, and where `bottom` and `right` begin, of the middle of a lesion's box: fitted to the
authors' training sentences, of which they give 79 % the same place."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One image and one target."""

    dataset: str
    target: str
    image: str
    """Path below the folder of the data."""
    mask: str
    split: str
    group: str
    present: bool
    sentence: str
    """The authors'; empty where they have none."""

    @property
    def name(self) -> str:
        """As the authors' sheets call the image."""
        return Path(self.image).name


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The authors' sheets of one data set."""

    designs: Mapping[str, Mapping[str, str]]
    """Design -> image -> sentence, of test images."""
    shares: Mapping[tuple[str, int], tuple[str, ...]]
    """Split and percentage -> images."""


def read_cases(root: Path, dataset: str, splits: Sequence[str], limit: int = 0) -> list[Case]:
    """The rows of `index.csv`; with a limit, evenly spread ones of each split.

    Raises:
        ValueError: no such data set.
    """
    with (root / "index.csv").open(newline="") as table:
        found = [_case(row) for row in csv.DictReader(table) if row["dataset"] == dataset]
    if not found:
        raise ValueError(f"no data set {dataset}")
    return [case for split in splits for case in spread([case for case in found if case.split == split], limit)]


def read_sheet(root: Path, dataset: str) -> Sheet:
    """What the authors' sheets say; nothing of data sets that they do not know."""
    designs: dict[str, dict[str, str]] = {}
    shares: dict[tuple[str, int], list[str]] = {}
    with (root / "prompts_medclipseg.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            if row["dataset"] != dataset:
                continue
            if row["design"] == "share":
                shares.setdefault((row["split"], int(row["share"])), []).append(row["image"])
            elif row["split"] == "test":
                designs.setdefault(row["design"], {})[row["image"]] = row["text"]
    return Sheet(designs=designs, shares={key: tuple(images) for key, images in shares.items()})


def shared(cases: Sequence[Case], sheet: Sheet, share: int, seed: int) -> list[Case]:
    """The share of training and validation cases, in percent.

    10, 25 and 50 are the authors' lists. Below 10 it is drawn by `seed` from their 10 %, nested, and validated on their
    10 %. Of data sets without lists every share is drawn so, and validated on all.

    Raises:
        ValueError: a share that the authors have no list for and that is no part of their 10 %.
    """
    if share == 100:
        return list(cases)
    if sheet.shares and share > 10 and ("train", share) not in sheet.shares:
        raise ValueError(f"the authors' sheets have no list of {share} %")
    chosen: list[Case] = []
    for split in ("train", "val"):
        of_split = [case for case in cases if case.split == split]
        listed = sheet.shares.get((split, share)) or sheet.shares.get((split, 10))
        known = [case for case in of_split if listed is None or case.name in listed]
        drawn = split == "train" and (split, share) not in sheet.shares
        chosen += _drawn(known, round(len(of_split) * share / 100), seed) if drawn else known
    return chosen


def _drawn(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """Whole images, the first of a seeded order: smaller counts lie in larger ones."""
    images = sorted({case.image for case in cases})
    order = np.random.default_rng(seed).permutation(len(images))
    kept = {images[place] for place in order[: max(1, count)]}
    return [case for case in cases if case.image in kept]


def training_rows(root: Path, cases: Sequence[Case], text: str, seed: int) -> list[dict[str, str]]:
    """The table that a training reads: paths, target, text, split, group, present.

    Args:
        text: one of `TRAINING_TEXTS`; `both` has every image twice, with its sentence and with the target's name.

    Raises:
        ValueError: no such text.
    """
    if text not in TRAINING_TEXTS:
        raise ValueError(f"text {text!r} is none of {', '.join(TRAINING_TEXTS)}")
    own = [case.sentence or case.target for case in cases]
    names = [case.target for case in cases]
    columns = {
        "sentences": [own],
        "short": [names],
        "both": [own, names],
        "empty": [[NO_TEXT] * len(cases)],
        "shuffled": [_shuffled_by_split(cases, own, seed)],
    }[text]
    return [_row(root, case, said) for said_of_all in columns for case, said in zip(cases, said_of_all, strict=True)]


def _row(root: Path, case: Case, said: str) -> dict[str, str]:
    return {
        "image": str((root / case.image).absolute()),
        "mask": str((root / case.mask).absolute()),
        "target": case.target,
        "text": said,
        "split": case.split,
        "group": case.group,
        "present": str(int(case.present)),
        "dataset": case.dataset,
    }


def texts(root: Path, cases: Sequence[Case], sheet: Sheet, design: str, seed: int = 0) -> list[str]:
    """What is asked of each test case.

    Raises:
        ValueError: no such design, or one of the authors' that has no sentence for a case.
    """
    if design == "short":
        return [case.target for case in cases]
    if design == "empty":
        return [NO_TEXT] * len(cases)
    if design == "located":
        return [_placed(root, case) for case in cases]
    if design == "shuffled":
        return shuffled([case.sentence or case.target for case in cases], seed)
    if design == "original":
        return [case.sentence or case.target for case in cases]
    said = sheet.designs.get(design, {})
    missing = [case.name for case in cases if case.name not in said]
    if missing:
        raise ValueError(f"design {design!r} has no sentence for {missing[0]}")
    return [said[case.name] for case in cases]


def shuffled(sentences: Sequence[str], seed: int) -> list[str]:
    """The same sentences, each at another case: a seeded order, moved on by one, so that none stays in its place."""
    order = np.random.default_rng(seed).permutation(len(sentences))
    result = list(sentences)
    for place, source in zip(order, np.roll(order, 1), strict=True):
        result[place] = sentences[source]
    return result


def _shuffled_by_split(cases: Sequence[Case], said: Sequence[str], seed: int) -> list[str]:
    result = list(said)
    for split in {case.split for case in cases}:
        places = [place for place, case in enumerate(cases) if case.split == split]
        for place, text in zip(places, shuffled([said[place] for place in places], seed), strict=True):
            result[place] = text
    return result


@cache
def _placed(root: Path, case: Case) -> str:
    if case.target not in PLACED or not case.present:
        return case.sentence or case.target
    return PLACED[case.target].format(place=place_of(read_foreground(root / case.mask)))


def place_of(mask: BoolArray) -> str:
    """One of nine places by the middle of the box around a mask that is not empty: top left ... center ... bottom."""
    rows, columns = np.nonzero(mask)
    down = (rows.min() + rows.max() + 1) / 2 / mask.shape[0]
    across = (columns.min() + columns.max() + 1) / 2 / mask.shape[1]
    words = (_third(down, "top", "bottom"), _third(across, "left", "right"))
    return " ".join(word for word in words if word) or "center"


def _third(place: float, first: str, last: str) -> str:
    return first if place < FIRST_THIRD else last if place > LAST_THIRD else ""


def _case(row: Mapping[str, str]) -> Case:
    return Case(
        dataset=row["dataset"],
        target=row["target"],
        image=row["image"],
        mask=row["mask"],
        split=row["split"],
        group=row["group"],
        present=row["present"] != "0",
        sentence=row["text"].strip(),
    )
