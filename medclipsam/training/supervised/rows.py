"""Reads what is to be learned: one row for each image and structure, from a table or from a folder.

    image,mask,target,text,split,group,present        DATA/images/a.png, DATA/masks/a.png, DATA/texts.csv (image,text)
    a.png,a_lv.png,left ventricle,,train,p1,1                            DATA/masks/left ventricle/a.png

Needed of a table: `image`, `mask`, and `target` or `text`. Understood where they are there: `split` (else whole groups
are drawn for validation), `group` (the patient; else each image alone), `present` (0: not there, the mask is empty) and
`dataset`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.io.tables import ListedFiles
from medclipsam.training.data.captions import SPLITS, drawn_groups
from medclipsam.training.data.tables import read_texts
from medclipsam.training.supervised.recipe import SupervisedData

TABLE_OF_FOLDER, TEXTS = "index.csv", "texts.csv"
Values = Mapping[str, str]
NO_TABLE = "give a CSV of image, mask and target, or a folder with images/ and masks/"


@dataclass(frozen=True, kw_only=True)
class LabelledRow:
    """One image and one structure."""

    image: Path
    mask: Path
    target: str
    """The structure, by its short name."""
    text: str
    """What the network is asked."""
    short: str = ""
    """What it is asked in training as often, in its place; empty: nothing."""
    split: str = ""
    """train, val or test."""
    group: str = ""
    """The patient, or else the image: rows of one group stay in one split."""
    present: bool | None = None
    """Whether the image shows it; None where only the mask says so."""


def read_labelled(data: Path, how: SupervisedData, seed: int = 0) -> list[LabelledRow]:
    """Every row that the settings choose, in the order of the table.

    Args:
        data: a table, a folder with `index.csv`, or a folder with `images/` and `masks/`.
        seed: of the split, where the data have none.

    Raises:
        BadInput: no such data, a column that is missing, a split that is none, files without partner, or no row left.
    """
    has_table = (data / TABLE_OF_FOLDER).is_file()
    if not has_table and (data / "images").is_dir() and (data / "masks").is_dir():
        rows = list(_folder_rows(data, how))
    else:
        rows = list(_table_rows(data / TABLE_OF_FOLDER if data.is_dir() else data, how))
    if not rows:
        chosen = ", ".join((*how.dataset, *how.target)) or "all"
        raise BadInput(f"no row of {data.name} is left (chosen: {chosen})", "check dataset and target")
    rows = rows if any(row.split for row in rows) else _divided(rows, how.val_share, seed)
    return [*rows, *(replace(row, text=row.short, short="") for row in rows if row.split == "val" and row.short)]


def _table_rows(table: Path, how: SupervisedData) -> Iterator[LabelledRow]:
    values = read_texts(table, NO_TABLE)
    named = "target" if "target" in values[0] else "text"
    missing = [name for name in ("image", "mask", named) if name not in values[0]]
    if missing:
        raise BadInput(f"{table.name} has no column {', '.join(missing)}", f"it has {', '.join(values[0])}")
    root = Path(how.images) if how.images else table.parent
    files = ListedFiles(root)
    for row in values:
        if _is_chosen(row, how):
            yield _row(row, root / files.find(row["image"]), root / files.find(row["mask"]), how)


def _is_chosen(row: Values, how: SupervisedData) -> bool:
    wanted = not how.dataset or row.get("dataset") in how.dataset
    return wanted and (not how.target or row.get("target") in how.target)


def _row(row: Values, image: Path, mask: Path, how: SupervisedData) -> LabelledRow:
    target = row.get("target") or row.get("text", "")
    if not target:
        raise BadInput(f"the row of {image.name} has neither target nor text", "name the structure")
    split = row.get("split", "").lower()
    if split and split not in SPLITS:
        raise BadInput(f"{split[:40]!r} is no split", f"use {', '.join(sorted(set(SPLITS.values())))}")
    told = row.get("present", "")
    text = target if how.text == "target" else row.get("text") or target
    return LabelledRow(
        image=image,
        mask=mask,
        target=target,
        text=text,
        short=target if how.text == "both" and text != target else "",
        split=SPLITS[split] if split else "",
        group=row.get("group") or image.as_posix(),
        present=None if told not in ("0", "1") else told == "1",
    )


def _folder_rows(data: Path, how: SupervisedData) -> Iterator[LabelledRow]:
    """Masks are called as their images; those of several structures lie in folders that name them."""
    images = {path.stem: path for path in _files(data / "images")}
    texts = _texts(data / TEXTS)
    masks = [(path.parent, path) for path in sorted((data / "masks").rglob("*")) if _is_file(path)]
    _check_partners(images, [path for _, path in masks])
    for folder, mask in masks:
        told = texts.get(mask.stem, {})
        named = folder.name if folder != data / "masks" else told.get("target") or "".join(how.target[:1])
        if not (named or told.get("text")):
            raise BadInput(
                "the masks do not say what they show", f"give --set target=NAME, or {TEXTS} with image and text"
            )
        row = {**told, "target": named or told["text"]}
        if _is_chosen(row, how):
            yield _row(row, images[mask.stem], mask, how)


def _texts(table: Path) -> Mapping[str, Values]:
    """What `texts.csv` says of each image, by the stem of its name; nothing where there is none."""
    if not table.is_file():
        return {}
    values = read_texts(table, NO_TABLE)
    if "image" not in values[0]:
        raise BadInput(f"{table.name} has no column image", f"it has {', '.join(values[0])}")
    return {Path(row["image"]).stem: row for row in values}


def _check_partners(images: Mapping[str, Path], masks: Sequence[Path]) -> None:
    stems = {mask.stem for mask in masks}
    alone = sorted(images.keys() - stems) or sorted(stems - images.keys())
    if alone:
        kind = "image without a mask" if alone[0] in images else "mask without an image"
        raise BadInput(
            f"{len(alone)} {kind}: {alone[0]}", "give each image a mask of the same name; an empty one if absent"
        )


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if _is_file(path)]


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def _divided(rows: Sequence[LabelledRow], val_share: float, seed: int) -> list[LabelledRow]:
    """Whole groups, by a seeded hash."""
    val = set(drawn_groups({row.group for row in rows}, val_share, seed))
    return [replace(row, split="val" if row.group in val else "train") for row in rows]
