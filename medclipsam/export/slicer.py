"""Writes a folder for each scan that 3D Slicer opens: the scan, and beside it one segmentation of all prompts.

    NAME/NAME.nii.gz      the scan: its own file where Slicer reads it, else NIfTI; pictures as PNG
    NAME/NAME.seg.nrrd    each prompt a segment with its name, colour and terminology; overlaps keep layers of their own

Drop the folder on Slicer, or give both files to "Add Data". slicerio reads the segmentation in Python.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.export.images import bring, save_shown
from medclipsam.export.labelled import Labelled
from medclipsam.export.options import ExportOptions
from medclipsam.export.pixels import ABSENT, LabelledImage, OpenScan, for_each_scan
from medclipsam.export.tally import Tally
from medclipsam.export.volumes import picture_volume, stacked, write_scan
from medclipsam.io.volumes.masks import check_oriented
from medclipsam.io.volumes.seg_nrrd import write_seg_nrrd
from medclipsam.types import Progress

OWN = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Endings of volume files that Slicer reads without an extension of its own."""
PNG = ".png"


def export_slicer(labelled: Labelled, folder: Path, options: ExportOptions, tally: Tally, tell: Progress) -> None:
    """Write a folder for each volume, and for each image of what is no volume.

    Args:
        labelled: what to write.
        folder: empty.
        options: what becomes of scans.
        tally: counts segmentations.
        tell: hears of the progress.

    Raises:
        BadInput: scans that are referred to, which lie in no folder with their segmentation.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    if options.bring == "refer":
        raise BadInput("Slicer gets scan and segmentation in one folder", "leave --in-place out, or take --link")
    for_each_scan(labelled, tally, tell, partial(_write, folder, options, tally))


def _write(folder: Path, options: ExportOptions, tally: Tally, scan: OpenScan) -> None:
    if scan.kind == "volumes":
        _volume(folder, options, tally, scan)
    else:
        for each in scan.images():
            if options.skip_absent and not any(mask.any() for mask in each.masks.values()):
                tally.leave_out("image", ABSENT)
            else:
                _picture(folder, tally, each)


def _volume(folder: Path, options: ExportOptions, tally: Tally, scan: OpenScan) -> None:
    source, name = scan.scan.path, scan.scan.name
    own = next((ending for ending in OWN if source.is_file() and source.name.lower().endswith(ending)), None)
    found = stacked(scan, with_values=own is None)
    check_oriented(found.volume, "segmentation of Slicer")
    if options.skip_absent and not any(found.sizes().values()):
        raise BadInput(ABSENT)
    target = folder / name / name
    if own is None:
        write_scan(found, target)
    else:
        bring(source, target.with_name(name + own), options.bring)
    write_seg_nrrd(found.volume, found.masks, target)
    tally.written["segmentations"] += 1


def _picture(folder: Path, tally: Tally, each: LabelledImage) -> None:
    """Slicer gives the pixels of a PNG no size but 1 mm."""
    target = folder / each.name / each.name
    save_shown(each.image, target.with_name(each.name + PNG))
    write_seg_nrrd(
        picture_volume(each.image.size, 1), {prompt: {0: mask} for prompt, mask in each.masks.items()}, target
    )
    tally.written["segmentations"] += 1
