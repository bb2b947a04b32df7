"""Writes scans and masks as nnU-Net's raw data: every case on its own grid, a label value for each prompt.

    Dataset001_NAME/imagesTr/CASE_0000.nii.gz   the scan's own file where all are of one format that nnU-Net reads, else
                                                NIfTI; of pictures what was segmented, 8 bits, grey or RGB
                    labelsTr/CASE.nii.gz        0, and 1, 2, ... for the prompts, the smaller mask on top; last: ignore
                    dataset.json                channels, labels or regions, file ending
                    splits_final.json           folds by groups; to be copied to nnUNet_preprocessed

Pixels are ignored where the run wrote training labels (`--ignore-band`) and was not sure.
Format: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.export.images import bring, save_levels, save_shown
from medclipsam.export.label_maps import IGNORE, LabelMaps, Labels, Layered, Regions
from medclipsam.export.labelled import Labelled
from medclipsam.export.options import ExportOptions
from medclipsam.export.pixels import ABSENT, OpenScan, for_each_scan, open_scans
from medclipsam.export.splits import folds_of
from medclipsam.export.tally import Tally
from medclipsam.export.volumes import NIFTI, stacked, unsourced, write_scan
from medclipsam.io.atomic import write_atomic
from medclipsam.io.volumes.masks import VolumeFormat, write_labels
from medclipsam.io.volumes.source import VolumeSlice
from medclipsam.types import BoolArray, Progress

ENDINGS: Mapping[str, VolumeFormat] = {NIFTI: "nifti", ".nrrd": "nrrd", ".mha": "mha"}
"""Suffixes of volumes that nnU-Net reads."""
DIMENSIONS = 3
"""Number of axes of the volumes that nnU-Net reads."""
RGB = {"0": "R", "1": "G", "2": "B"}
NAME = re.compile(r"Dataset[0-9]{3}_\S+")
CALLED = "nnU-Net finds this folder once it is called Dataset with three digits and a name, such as Dataset001_{name}"
FOLDS = "for nnU-Net to keep groups together copy splits_final.json to nnUNet_preprocessed/{name} after planning"
TOGETHER = "nnU-Net has no data sets of both pictures and volumes"


def export_nnunet(labelled: Labelled, folder: Path, options: ExportOptions, tally: Tally, tell: Progress) -> None:
    """Write the data set.

    Args:
        labelled: what to write.
        folder: empty.
        options: which kind of scans, channels, regions and folds.
        tally: counts cases.
        tell: hears of the progress.

    Raises:
        BadInput: scans that are referred to; pictures and volumes at once; nothing found in any scan; too many labels.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    if options.bring == "refer":
        raise BadInput("nnU-Net reads scans from the data set", "leave --in-place out, or take --link")
    ending = _ending(labelled, options)
    written = _DataSet(labelled, folder, ending, options, tally)
    for_each_scan(labelled, tally, tell, written.add_volume if ending in ENDINGS else written.add_pictures)
    written.finish()
    if not NAME.fullmatch(options.called):
        tally.note(CALLED.format(name=options.called))


def _ending(labelled: Labelled, options: ExportOptions) -> str:
    """What all files end with: that of pictures; of volumes their own where they share one, else that of NIfTI."""
    pictures, own = False, set[str]()
    for scan in open_scans(labelled, Tally(), lambda *_: None):
        if scan.kind == "pictures":
            pictures = True
        else:
            own.add(_own_ending(scan))
    if pictures and own:
        raise BadInput(TOGETHER, "choose by --only pictures or --only volumes")
    if pictures:
        return options.picture_suffix
    return own.pop() if len(own) == 1 and own != {""} else NIFTI


class _DataSet:
    """What grows into a data set."""

    def __init__(self, labelled: Labelled, folder: Path, ending: str, options: ExportOptions, tally: Tally) -> None:
        self._folder, self._ending, self._options, self._tally = folder, ending, options, tally
        self._labels = _labels(labelled, options)
        self._ignore = self._labels.highest + 1 if labelled.has_ignored else None
        self._colours: dict[Path, bool] = {}
        """Whether each picture is in colours."""
        self._groups: dict[str, str] = {}
        """The group of each case."""
        self._found = False

    def add_pictures(self, scan: OpenScan) -> None:
        """Each image of a scan is a case."""
        for each in scan.images():
            sizes = {prompt: int(mask.sum()) for prompt, mask in each.masks.items()}
            if self._options.skip_absent and not any(sizes.values()):
                self._tally.leave_out("image", ABSENT)
                continue
            labels = self._with_ignored(self._labels.united(each.masks, sizes), each.ignored)
            save_levels(labels, self._folder / "labelsTr" / f"{each.name}{self._ending}")
            image = self._folder / "imagesTr" / f"{each.name}_0000{self._ending}"
            self._colours[image] = save_shown(each.image, image)
            self._count(each.name, scan, sizes)

    def add_volume(self, scan: OpenScan) -> None:
        """A scan is a case."""
        source, name = scan.scan.path, scan.scan.name
        own = _own_ending(scan) == self._ending
        found = stacked(scan, with_values=not own)
        sizes = found.sizes()
        if self._options.skip_absent and not any(sizes.values()):
            raise BadInput(ABSENT)
        planes = (
            (number, self._with_ignored(self._labels.united(masks, sizes), ignored))
            for number, masks, ignored in found.planes()
        )
        labels = found.filled(planes, np.uint8)
        if own:
            write_labels(found.volume, labels, self._folder / "labelsTr" / name, format=ENDINGS[self._ending])
            bring(source, self._folder / "imagesTr" / f"{name}_0000{self._ending}", self._options.bring)
        else:
            write_scan(found, self._folder / "imagesTr" / f"{name}_0000")
            write_labels(unsourced(found.volume, "NIfTI"), labels, self._folder / "labelsTr" / name, format="nifti")
        self._count(name, scan, sizes)

    def finish(self) -> None:
        """Write what is known at the end.

        Raises:
            BadInput: nothing was found in any scan.
        """
        if not self._found:
            raise BadInput("nothing was found in any scan, and nnU-Net cannot plan without", "label scans that show it")
        colours = any(self._colours.values())
        for path in (path for path, has_colours in self._colours.items() if colours and not has_colours):
            save_levels(np.asarray(Image.open(path).convert("RGB")), path)
        labels = self._labels.facts()
        if self._ignore is not None:
            labels["labels"][IGNORE] = self._ignore
        facts = {
            "channel_names": RGB if colours else {"0": self._options.channel},
            **labels,
            "numTraining": len(self._groups),
            "file_ending": self._ending,
        }
        write_atomic(self._folder / "dataset.json", json.dumps(facts, ensure_ascii=False, indent=1) + "\n")
        folds = folds_of(self._groups, self._options)
        if folds:
            write_atomic(self._folder / "splits_final.json", json.dumps(folds, indent=1) + "\n")
            self._tally.note(FOLDS.format(name=self._options.called))

    def _with_ignored(self, labels: Labels, ignored: BoolArray) -> Labels:
        return labels if self._ignore is None else np.where(ignored, np.uint8(self._ignore), labels)

    def _count(self, case: str, scan: OpenScan, sizes: Mapping[str, int]) -> None:
        self._groups[case] = scan.scan.group
        self._found |= any(sizes.values())
        self._tally.written["cases"] += 1


def _labels(labelled: Labelled, options: ExportOptions) -> LabelMaps:
    """Regions must know all combinations of prompts before the first is written."""
    if not options.regions:
        return Layered(labelled.prompts)
    regions = Regions(labelled.prompts)
    for scan in open_scans(labelled, Tally(), lambda *_: None):
        with suppress(BadInput):
            for each in scan.images(whole=True):
                regions.learn(each.masks)
    return regions


def _own_ending(scan: OpenScan) -> str:
    """What a volume's own file ends with, where nnU-Net reads it; nothing where it does not."""
    path, origin = scan.scan.path, scan.first.origin
    plain = path.is_file() and isinstance(origin, VolumeSlice) and len(origin.volume.shape) == DIMENSIONS
    return next((ending for ending in ENDINGS if plain and path.name.lower().endswith(ending)), "")
