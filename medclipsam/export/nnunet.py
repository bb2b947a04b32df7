"""Writes scans and masks as nnU-Net's raw data: every case on its own grid, a label value for each prompt.

    Dataset001_NAME/imagesTr/CASE_0000.nii.gz   the scan's own file; of 2-D scans what was segmented, as 8-bit RGB
                    labelsTr/CASE.nii.gz        0, and 1, 2, ... for the prompts; where two overlap the later one
                    dataset.json                channels, labels, file ending
                    cases.csv                   which case is which scan

Format: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.export.images import Bring, bring, images_of, save_shown
from medclipsam.export.labelled import Labelled, LabelledScan
from medclipsam.io.atomic import write_atomic
from medclipsam.io.label_files import read_foreground
from medclipsam.io.reading import open_source
from medclipsam.io.source import ReadOptions
from medclipsam.io.volumes.masks import VolumeFormat, write_labels
from medclipsam.io.volumes.source import VolumeSlice
from medclipsam.types import Progress

ENDINGS: Mapping[str, VolumeFormat] = {".nii.gz": "nifti", ".nrrd": "nrrd", ".mha": "mha"}
"""Suffixes of volumes that nnU-Net reads."""
PNG = ".png"
LABELS_MOST = 255
RGB = {"0": "R", "1": "G", "2": "B"}


def export_nnunet(
    labelled: Labelled, folder: Path, *, how: Bring, channel: str = "image", tell: Progress
) -> dict[str, int]:
    """Write the data set.

    Args:
        labelled: what to write.
        folder: of the data set, empty or new; nnU-Net wants it to be called `Dataset` with three digits and a name.
        how: whether scans are copied or linked to; pictures are written.
        channel: the name of the only channel of volumes; `CT` makes nnU-Net normalise as for Hounsfield units.
        tell: hears of the progress.

    Returns:
        How many cases were written, and scans left out.

    Raises:
        BadInput: scans of several kinds, or of none that nnU-Net reads; too many prompts.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    if len(labelled.prompts) > LABELS_MOST:
        raise BadInput(f"{len(labelled.prompts)} prompts are more than {LABELS_MOST} labels", "choose some by --prompt")
    ending, scans = _ending(labelled.scans)
    values = {prompt: number for number, prompt in enumerate(labelled.prompts, 1)}
    cases: list[tuple[str, str]] = []
    for done, scan in enumerate(scans):
        tell("exporting", done, len(scans))
        if ending == PNG:
            cases += _pictures(scan, labelled.reading, folder, values)
        else:
            bring(scan.path, folder / "imagesTr" / f"{scan.name}_0000{ending}", how)
            _volume_labels(scan, labelled.reading, folder, values, ENDINGS[ending])
            cases.append((scan.name, scan.file))
    write_atomic(folder / "cases.csv", _table(cases))
    channels = RGB if ending == PNG else {"0": channel}
    facts = {
        "channel_names": channels,
        "labels": {"background": 0, **values},
        "numTraining": len(cases),
        "file_ending": ending,
    }
    write_atomic(folder / "dataset.json", json.dumps(facts, ensure_ascii=False, indent=1) + "\n")
    return {"cases": len(cases), "scans left out": len(labelled.scans) - len(scans)}


def _ending(scans: Sequence[LabelledScan]) -> tuple[str, list[LabelledScan]]:
    """(how all files end, the scans that can be given)."""
    by_ending: dict[str, list[LabelledScan]] = {}
    for scan in scans:
        by_ending.setdefault(_own_ending(scan), []).append(scan)
    by_ending.pop("", None)
    if not by_ending:
        raise BadInput(f"nnU-Net reads volumes as {', '.join(ENDINGS)}, and none of these scans is one", "convert them")
    if len(by_ending) > 1:
        raise BadInput(f"the scans are of several kinds: {', '.join(sorted(by_ending))}", "export one kind at a time")
    return next(iter(by_ending.items()))


def _own_ending(scan: LabelledScan) -> str:
    """What the scan's files in the data set end with; nothing where nnU-Net cannot read it."""
    endings = {mask.name[mask.name.index(".") :] for masks in scan.masks.values() for mask in masks.values()}
    if endings == {PNG}:
        return PNG
    own = next((ending for ending in ENDINGS if scan.path.name.lower().endswith(ending)), "")
    return own if endings == {own} and set(scan.masks) == {""} else ""


def _pictures(
    scan: LabelledScan, reading: ReadOptions, folder: Path, values: Mapping[str, int]
) -> list[tuple[str, str]]:
    """Each image of a scan is a case."""
    cases = []
    for number, image in images_of(scan, reading):
        labels = _united({prompt: read_foreground(path) for prompt, path in scan.masks[number].items()}, values)
        if labels.shape != image.size:
            raise BadInput(f"{scan.file}: masks of {labels.shape} pixels, a scan of {image.size}", "give its own scans")
        case = f"{scan.name}{number}"
        save_shown(image, folder / "imagesTr" / f"{case}_0000.png", colours=True)
        stream = BytesIO()
        Image.fromarray(labels).save(stream, "PNG")
        write_atomic(folder / "labelsTr" / f"{case}.png", stream.getvalue())
        cases.append((case, scan.file))
    return cases


def _volume_labels(
    scan: LabelledScan, reading: ReadOptions, folder: Path, values: Mapping[str, int], format: VolumeFormat
) -> None:
    origin = open_source(scan.path, reading).origin(0)
    if not isinstance(origin, VolumeSlice):
        raise BadInput(f"{scan.file}: is no volume file", "convert it first")
    masks = {prompt: read_foreground(path).T for prompt, path in scan.masks[""].items()}
    labels = _united(masks, values).reshape(origin.volume.grid.shape, order="F")
    write_labels(origin.volume, labels, folder / "labelsTr" / scan.name, format=format)


def _united(masks: Mapping[str, NDArray[np.bool_]], values: Mapping[str, int]) -> NDArray[np.uint8]:
    """One map of labels; where prompts overlap, the later one."""
    labels = np.zeros(next(iter(masks.values())).shape, np.uint8)
    for prompt, value in values.items():
        if prompt in masks:
            labels[masks[prompt]] = value
    return labels


def _table(cases: Sequence[tuple[str, str]]) -> str:
    text = StringIO(newline="")
    table: Any = csv.writer(text, lineterminator="\n")
    table.writerow(("case", "file"))
    table.writerows(cases)
    return text.getvalue()
