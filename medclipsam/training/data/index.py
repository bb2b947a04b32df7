"""Images with masks as a table names them: `index.csv`, one row for each image and target, into one value an image.

    image,mask,target,split,group,present                      LabelledImage(image, targets, masks, missing, split)
    a.png,a_lv.png,left ventricle,train,patient1,1     -->         a.png: left ventricle, right ventricle (missing)
    a.png,a_rv.png,right ventricle,train,patient1,0

Needed: `image`, `mask`, and `target` (or `text`). Understood where they are there: `split` (else whole groups are drawn
for validation), `group` (the patient; else each image alone), `present` (0: searched for and not there, the mask is
empty), `dataset` (else the first folder of the image's path) and `modality`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from medclipsam.errors import BadInput
from medclipsam.io.tables import ListedFiles
from medclipsam.training.data.captions import SPLITS, drawn_groups
from medclipsam.training.data.tables import read_texts

INDEX = "index.csv"


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """An image and what is known of it."""

    image: str
    """Path below the folder of the data."""
    folder: str
    """Data set, by which images are drawn and scored."""
    modality: str = ""
    split: str = "train"
    """train, val or test."""
    group: str = ""
    """Images of one group, such as a patient's, stay in one split."""
    targets: tuple[str, ...] = ()
    """What was searched for."""
    masks: tuple[str, ...] = ()
    """Path of the mask of each target."""
    missing: tuple[str, ...] = ()
    """Those of `targets` that are not there: their masks are empty."""
    caption: str = ""
    """What a report says of the image; empty where there is none."""


def read_index(root: Path, *, val_share: float = 0.15, seed: int = 0) -> list[LabelledImage]:
    """Every image of a folder with `index.csv`, with all of its targets, in the table's order.

    Args:
        val_share: share of the groups, 0 to below 1, that become validation where the table has no splits.
        seed: decides which.

    Raises:
        BadInput: no such table, a column that is missing, a split that is none, or no row at all.
    """
    rows = read_texts(root / INDEX, f"give a folder with {INDEX}: image, mask, target")
    named = "target" if "target" in rows[0] else "text"
    missing = [name for name in ("image", "mask", named) if name not in rows[0]]
    if missing:
        raise BadInput(f"{INDEX} has no column {', '.join(missing)}", f"it has {', '.join(rows[0])}")
    files = ListedFiles(root)
    grouped: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        grouped.setdefault(str(files.find(row["image"])), []).append(row)
    images = [_image(name, rows, named, files) for name, rows in grouped.items()]
    return images if any(image.split for image in images) else _divided(images, val_share, seed)


def _image(name: str, rows: Sequence[Mapping[str, str]], named: str, files: ListedFiles) -> LabelledImage:
    first = rows[0]
    split = first.get("split", "")
    if split and split.lower() not in SPLITS:
        raise BadInput(f"{INDEX}: {split[:40]!r} is no split", f"use {', '.join(sorted(set(SPLITS.values())))}")
    known = [row for row in rows if row[named]]
    return LabelledImage(
        image=name,
        folder=first.get("dataset") or _first_folder(name),
        modality=first.get("modality", ""),
        split=SPLITS[split.lower()] if split else "",
        group=first.get("group") or name,
        targets=tuple(row[named] for row in known),
        masks=tuple(str(files.find(row["mask"])) for row in known),
        missing=tuple(row[named] for row in known if row.get("present") == "0"),
    )


def _divided(images: Sequence[LabelledImage], val_share: float, seed: int) -> list[LabelledImage]:
    """Whole groups, by a seeded hash."""
    val = set(drawn_groups({image.group for image in images}, val_share, seed))
    return [replace(image, split="val" if image.group in val else "train") for image in images]


def _first_folder(name: str) -> str:
    parts = PurePosixPath(name).parts
    return parts[0] if len(parts) > 1 else "data"
