"""Reads the masks of an item as they lie on its images, and writes those that a person made, on the same grid.

    masks/, doubtful/  --read as shown-->  (height, width) of each image  --a person's edits-->  reviewed/ID/...

What is written has the formats of the run, through the same writers; images that were not touched keep their masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.atomic import file_digest, write_atomic
from medclipsam.io.label_files import read_foreground
from medclipsam.io.mask_files import MaskFiles, SegOptions
from medclipsam.io.mask_formats import folder_formats
from medclipsam.io.volumes.stacked import slice_number, volume_of
from medclipsam.review.decisions import judged_files
from medclipsam.runs.cases import Case
from medclipsam.runs.finished import number_of
from medclipsam.runs.layout import Places
from medclipsam.runs.manifest import REVIEWED, Record
from medclipsam.runs.pictures import Pictures
from medclipsam.types import BoolArray, MedImage, Segmentation

READABLE = (".png", ".npy", ".nii.gz", ".nrrd", ".mha", ".mgz")
"""Suffixes of masks that are shown and corrected; DICOM SEG and RTSTRUCT are for other tools."""
SLICER = ".seg.nrrd"


class ItemMasks:
    """The masks of one item, image by image.

    Args:
        folder: what `medclipsam pseudolabel` wrote.
        record: the item's.
        outputs: the files to read; those of the run where None.
    """

    def __init__(self, folder: Path, record: Record, outputs: Sequence[str] | None = None) -> None:
        self._folder, self._record = folder, record
        names = [name for name in (judged_files(record) if outputs is None else outputs) if _is_readable(name)]
        self._alone = {number_of(name, record): name for name in reversed(names) if number_of(name, record)}
        self._whole = [name for name in names if not number_of(name, record)]
        self._volumes: dict[str, NDArray[Any]] = {}

    def of(self, image: MedImage, pictures: Pictures) -> BoolArray:
        """The mask on an image, (height, width) as the image is shown.

        Raises:
            BadInput: no mask that can be shown, one that cannot be read, or of another size.
        """
        number = image.name.removeprefix(self._record.case)
        if number in self._alone:
            return self._checked(read_foreground(self._folder / self._alone[number]), image)
        if not self._whole:
            raise BadInput(f"{self._record.spoken}: no mask can be shown", "run pseudolabel with --format png besides")
        parts = [self._slice(name, image, pictures) for name in self._whole]
        return self._checked(np.logical_or.reduce(parts), image)

    def _slice(self, name: str, image: MedImage, pictures: Pictures) -> BoolArray:
        """What one file says of an image; a picture is its only image."""
        values = self._volumes.get(name)
        if values is None:
            values = self._volumes[name] = read_foreground(self._folder / name)
        if name.endswith((".png", ".npy")):
            return values
        volume = volume_of(image, pictures.corners_lps)
        voxels = np.moveaxis(values.T.reshape(volume.grid.shape, order="F"), volume.axis, 0)
        return np.asarray(volume.view.show(voxels[slice_number(volume, image)]))

    def _checked(self, mask: BoolArray, image: MedImage) -> BoolArray:
        if mask.shape != image.size:
            raise BadInput(
                f"{self._record.spoken}: a mask of {mask.shape} pixels, an image of {image.size}",
                "give the scans that were labelled",
            )
        return mask


def write_masks(
    folder: Path,
    decision: str,
    case: Case,
    record: Record,
    *,
    pictures: Pictures,
    edits: Mapping[int, BoolArray],
    settings: Mapping[str, Any],
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Write all masks of an item anew, each file whole or not at all.

    Args:
        folder: what `medclipsam pseudolabel` wrote.
        decision: the id of the decision that they are written for.
        case: the item's scan.
        record: the item's.
        pictures: all images of the scan.
        edits: masks by the number of their image, (height, width); the others are those of the run.
        settings: those of the run.

    Returns:
        SHA-256 of each file by its path below `folder`, and those that mark nothing.

    Raises:
        BadInput: an edit of an image that the scan does not have, or of another size; masks that cannot be read.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    if not all(0 <= index < len(pictures) for index in edits):
        raise BadInput(f"{record.spoken}: has {len(pictures)} images, not image {max(edits)}", "edit one of them")
    prompt, kept, filled = record.prompt or "", ItemMasks(folder, record), dict[Path, bool]()
    files: MaskFiles | None = None
    for index, image in enumerate(pictures):
        mask = edits[index] if index in edits else kept.of(image, pictures)
        if files is None:
            files = _files(Places(folder, f"{REVIEWED}/{decision}", case, prompt), image, pictures, settings)
        for path in files.add(image, _answer(prompt, mask, image)).values():
            filled[path] = filled.get(path, False) or bool(mask.any())
    if files is not None:
        files.finish()
    digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in filled}
    return digests, tuple(path.relative_to(folder).as_posix() for path, some in filled.items() if not some)


def _files(places: Places, image: MedImage, pictures: Pictures, settings: Mapping[str, Any]) -> MaskFiles:
    """The writers of the run."""
    seg = SegOptions(**settings["labels"].get("seg", {}))
    formats, _ = folder_formats(image, settings["labels"]["formats"], seg.kind, pictures.corners_lps)
    return MaskFiles(
        places, formats, whole=True, seg=seg, corners=pictures.corners_lps, preset=settings["preset"]["name"]
    )


def _answer(prompt: str, mask: BoolArray, image: MedImage) -> Segmentation:
    if mask.shape != image.size:
        raise BadInput(f"{image.name}: a mask of {mask.shape} pixels, an image of {image.size}", "draw it on the image")
    return Segmentation(prompt=prompt, mask=mask, probability=mask.astype(np.float32), found=bool(mask.any()))


def _is_readable(name: str) -> bool:
    return name.endswith(READABLE) and not name.endswith(SLICER)


def copy_masks(folder: Path, decision: str, record: Record) -> tuple[dict[str, str], tuple[str, ...]] | None:
    """Copy all masks of an item, the doubtful ones too, where no two of them are parts of one file.

    Returns:
        As `write_masks`; None where a volume has believed and doubtful slices, which only its scan can bring together.

    Raises:
        BadInput: a mask that cannot be read.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    names = {name: f"{REVIEWED}/{decision}/{name.partition('/')[2]}" for name in judged_files(record)}
    if len(set(names.values())) < len(names):
        return None
    for name, target in names.items():
        write_atomic(folder / target, (folder / name).read_bytes())
    empty = (
        target for name, target in names.items() if _is_readable(name) and not read_foreground(folder / name).any()
    )
    return {names[name]: digest for name, digest in judged_files(record).items()}, tuple(empty)
