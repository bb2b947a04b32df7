"""Copies labelled scans into a data set that nnU-Net and the small network both read, in nnU-Net's layout.

    dataset/Dataset001_refine/imagesTr/NAME_0000.png    the square of a scan, 8-bit RGB
                              labelsTr/NAME.png         0, 1 and, where there are some, 2 = ignore
                              dataset.json              channels and labels, as nnU-Net wants them
    dataset/examples.json                               names, groups, hashes; folds
    dataset/skipped.csv                                 what could not be used, and why

The folder appears whole, by one rename. A scan that changed since it was labelled is skipped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medclipsam.backbones.squares import Labels, Square, frame_for, labels_to_square, to_square
from medclipsam.errors import BadInput, CannotWrite
from medclipsam.io.atomic import write_atomic
from medclipsam.io.label_files import read_label_values
from medclipsam.refine.folds import Fold, grouped_folds
from medclipsam.refine.pseudolabels import NOTHING_FOUND, LabelledFile, PseudoLabels
from medclipsam.refine.recipe import Geometry
from medclipsam.runs.labels import FOREGROUND, IGNORE
from medclipsam.runs.reading import Arrival, arrivals
from medclipsam.training.data.captions import Skipped
from medclipsam.training.data.skipped import SkippedLog
from medclipsam.types import Progress

NAME = "Dataset001_refine"
FACTS = "examples.json"
LEAST_WEIGHT = 0.05
"""What a picture counts whose label has no confidence at all; one that a person made, or an empty one, counts fully."""
WHITE = (255, 65535, 0xFFFFFF)
"""White of a mask of 8 or 16 bits, or of a palette without black first."""


@dataclass(frozen=True, kw_only=True)
class PictureSet:
    """A data set on disk."""

    root: Path
    """`dataset/`, nnU-Net's `nnUNet_raw`."""
    groups: Mapping[str, str]
    """The group of each picture, by the picture's name."""
    has_ignored: bool
    prompt: str
    digest: str
    """SHA-256 of scans, labels and geometry."""
    skipped: int
    confidence: Mapping[str, float] = field(default_factory=dict)
    """In the mask of a picture, in [0, 1]; see `LabelledFile.confidence`."""

    @property
    def folder(self) -> Path:
        """nnU-Net's data set."""
        return self.root / NAME

    def facts(self) -> dict[str, Any]:
        """What `dataset.json` says."""
        return dict(json.loads((self.folder / "dataset.json").read_text("utf-8")))

    def picture(self, name: str) -> Path:
        """Where the picture's square lies."""
        return self.folder / "imagesTr" / f"{name}_0000.png"

    def square(self, name: str) -> Square:
        """The picture's square."""
        return np.array(Image.open(self.picture(name)).convert("RGB"))

    def labels(self, name: str) -> Labels:
        """The picture's labels."""
        return np.asarray(Image.open(self.folder / "labelsTr" / f"{name}.png"))

    def weights(self, names: Sequence[str]) -> list[float]:
        """How much each picture counts by the confidence in its label, above 0 and up to 1."""
        return [max(LEAST_WEIGHT, self.confidence.get(name, 1.0)) for name in names]

    def fold(self, recipe: Geometry) -> Fold:
        """What to train on and what to hold out; nothing where the recipe holds out no fold.

        Raises:
            BadInput: fewer groups than folds.
        """
        if recipe.fold is None:
            return {"train": sorted(self.groups), "val": []}
        return grouped_folds(self.groups, recipe.folds, recipe.seed)[recipe.fold]


def export_dataset(material: PseudoLabels, recipe: Geometry, root: Path, tell: Progress) -> PictureSet:
    """Write the data set, unless it is there already.

    Args:
        root: gets the data set; made, or replaced where it holds another one.

    Raises:
        BadInput: not one scan can be used, or not one label shows anything.
        CannotWrite: the disk is full, or the folder cannot be written.
    """
    digest = dataset_digest(material, recipe)
    if (root / FACTS).is_file():
        found = read_dataset(root)
        if found.digest == digest:
            return found
    stage = root.with_name(f".{root.name}.partial")
    try:
        shutil.rmtree(stage, ignore_errors=True)
        _write(material, recipe, stage, digest, tell)
        shutil.rmtree(root, ignore_errors=True)
        stage.replace(root)
    except OSError as error:
        raise CannotWrite(
            f"{root} cannot be written ({error.strerror})", "free space or choose another folder"
        ) from error
    return read_dataset(root)


def read_dataset(root: Path) -> PictureSet:
    """A data set that `export_dataset` wrote.

    Raises:
        BadInput: it is not one.
    """
    try:
        return PictureSet(root=root, **json.loads((root / FACTS).read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"{root / FACTS} cannot be read", "delete the folder and start again") from error


def _write(material: PseudoLabels, recipe: Geometry, stage: Path, digest: str, tell: Progress) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (stage / NAME / folder).mkdir(parents=True)
    skipped = list(material.skipped)
    groups: dict[str, str] = {}
    for done, (file, pictures) in enumerate(_read(material)):
        tell("preparing pictures", done, len(material.files))
        for arrived in pictures:
            problem = _copy(arrived, file, recipe, stage / NAME)
            if problem:
                skipped.append(Skipped(row=arrived.image.name if arrived.image else file.case.name, reason=problem))
            elif arrived.image and arrived.image.name in file.labels:
                groups[arrived.image.name] = file.group
    if not groups:
        raise BadInput("none of the labelled scans can be used", skipped[0].reason if skipped else "")
    if not any(_shows_something(stage / NAME / "labelsTr" / f"{name}.png") for name in groups):
        raise BadInput(f"none of {len(groups)} labels of {material.prompt!r} shows anything", NOTHING_FOUND)
    SkippedLog(stage / "skipped.csv")(skipped)
    write_atomic(stage / NAME / "dataset.json", json.dumps(_nnunet_facts(material, len(groups)), indent=1) + "\n")
    facts = {"groups": groups, "has_ignored": material.has_ignored, "prompt": material.prompt, "digest": digest}
    sure = {name: value for file in material.files for name, value in file.confidence.items() if name in groups}
    write_atomic(stage / FACTS, json.dumps({**facts, "skipped": len(skipped), "confidence": sure}, indent=1) + "\n")


def _shows_something(labels: Path) -> bool:
    """Whether a pixel is inside; a network that never sees one learns nothing, and nnU-Net fails while it plans."""
    return bool((np.asarray(Image.open(labels)) == FOREGROUND).any())


def _read(material: PseudoLabels) -> Iterator[tuple[LabelledFile, Iterator[Arrival]]]:
    """Each file with its pictures."""
    files = {file.case.name: file for file in material.files}
    coming = arrivals([file.case for file in material.files], material.reading)
    for name, pictures in groupby(coming, key=lambda arrived: arrived.case.name):
        yield files[name], pictures


def _copy(arrived: Arrival, file: LabelledFile, recipe: Geometry, folder: Path) -> str:
    """Write one picture and its label; why not, where it cannot be."""
    if arrived.image is None:
        return arrived.refusal or "no picture"
    if arrived.sha256 != file.sha256:
        return "the scan changed since it was labelled"
    name = arrived.image.name
    if name not in file.labels:
        return ""
    try:
        labels = read_labels(file.labels[name])
    except BadInput as error:
        return str(error)
    if labels.shape != arrived.image.size:
        return "the label is not one of this scan's"
    frame = frame_for(arrived.image.size, recipe.side, recipe.fit)
    square = to_square(arrived.image.pixels, frame)
    Image.fromarray(square).save(folder / "imagesTr" / f"{name}_0000.png")
    Image.fromarray(labels_to_square(labels, frame)).save(folder / "labelsTr" / f"{name}.png")
    return ""


def read_labels(path: Path) -> Labels:
    """A mask (white inside) or labels (0, 1, 2) as labels, however the picture stores them.

    Raises:
        BadInput: any other picture, or none.
    """
    values = np.asarray(read_label_values(path).values).astype(np.int64)
    labels = np.where(np.isin(values, WHITE), FOREGROUND, values)
    if labels.ndim != 2 or not np.isin(labels, (0, FOREGROUND, IGNORE)).all():
        raise BadInput(f"{path.name} holds other values than a mask or labels 0, 1 and 2")
    return labels.astype(np.uint8)


def _nnunet_facts(material: PseudoLabels, count: int) -> dict[str, Any]:
    """`dataset.json`; the channels' names ask for a z-score of each (paper and released code: the same)."""
    labels = {"background": 0, "foreground": FOREGROUND}
    return {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": labels | ({"ignore": IGNORE} if material.has_ignored else {}),
        "numTraining": count,
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
    }


def dataset_digest(material: PseudoLabels, recipe: Geometry) -> str:
    """What the data set of this material would be known by: scans, labels, groups and geometry."""
    content = hashlib.sha256(json.dumps([material.prompt, material.source, recipe.side, recipe.fit]).encode())
    for file in sorted(material.files, key=lambda file: file.case.name):
        content.update(json.dumps([file.case.name, file.sha256, file.group, sorted(file.hashes.items())]).encode())
    return content.hexdigest()
