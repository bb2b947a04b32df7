"""Says which formats of masks a scan gets: those that are wanted, as far as they can lie on it.

`auto` is what a viewer lays on the scan: seg for DICOM, its own format for a volume file, png for images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast

from medclipsam.errors import BadInput
from medclipsam.io.masks import natural_format
from medclipsam.io.volumes.masks import SUFFIXES as VOLUME_SUFFIXES
from medclipsam.io.volumes.masks import VolumeFormat, check_format, check_oriented
from medclipsam.io.volumes.stacked import Corners, volume_of
from medclipsam.types import MedImage

if TYPE_CHECKING:
    from medclipsam.io.dicom.seg import SegKind

ScanFormat = Literal["auto", "seg", "rtstruct", "png", "nifti", "nrrd", "mha", "mgz", "seg.nrrd", "npy"]
NO_SEG = "no DICOM SEG can lie on this object, so the mask is a PNG"
_LIES_ON = {
    "seg": (("dicom",), "a DICOM SEG lies on a DICOM image"),
    "rtstruct": (("dicom",), "an RT Structure Set lies on a DICOM image"),
    **{
        format: ((*VOLUME_SUFFIXES, "dicom"), f"a mask as {format} lies on a volume")
        for format in (*VOLUME_SUFFIXES, "seg.nrrd")
    },
}


def formats_for(
    image: MedImage, wanted: Sequence[ScanFormat], seg_kind: SegKind = "binary", corners: Corners | None = None
) -> tuple[tuple[ScanFormat, ...], tuple[str, ...]]:
    """(the formats to write, what a person should know of them).

    Args:
        image: the first picture of a scan.
        wanted: `auto` among them is replaced; for a DICOM object that lacks what a SEG needs, by png and a warning.
        seg_kind: see `medclipsam.io.dicom.seg.write_seg`.
        corners: of all slices of a DICOM series, see `medclipsam.io.source.Source`.

    Raises:
        BadInput: a format that the scan cannot have.
    """
    formats: dict[ScanFormat, None] = {}
    warnings: dict[str, None] = {}
    for format in wanted:
        if format == "auto":
            chosen, warned = _natural(image, seg_kind)
        else:
            chosen, warned = _checked(image, format, seg_kind, corners), ()
        formats[chosen] = None
        warnings |= dict.fromkeys(warned)
    if seg_kind != "binary" and "seg" not in formats:
        raise BadInput(f"{image.name}: no DICOM SEG is written, so it has no type {seg_kind}", "leave the type out")
    return tuple(formats), tuple(warnings)


def folder_formats(
    image: MedImage, wanted: Sequence[ScanFormat], seg_kind: SegKind = "binary", corners: Corners | None = None
) -> tuple[tuple[ScanFormat, ...], tuple[str, ...]]:
    """The same for a scan of a folder of many kinds: in place of a format that it cannot have it gets its natural one.

    Args:
        image: the first image of a scan.
        wanted: `auto` is the format of a volume file, and png for all others; a DICOM object that can have no SEG gets
            a PNG and a warning.
        seg_kind: see `medclipsam.io.dicom.seg.write_seg`.
        corners: of all slices of a DICOM series, see `medclipsam.io.source.Source`.
    """
    formats: dict[ScanFormat, None] = {}
    warnings: dict[str, None] = {}
    for format in wanted:
        chosen, warned = _fitting(image, format, seg_kind, corners)
        formats[chosen] = None
        warnings |= dict.fromkeys(warned)
    return tuple(formats), tuple(warnings)


def _fitting(
    image: MedImage, format: ScanFormat, seg_kind: SegKind, corners: Corners | None
) -> tuple[ScanFormat, tuple[str, ...]]:
    if format == "seg" and image.format == "dicom":
        return _natural(image, seg_kind)
    try:
        return natural_format(image) if format == "auto" else _checked(image, format, seg_kind, corners), ()
    except BadInput:
        return natural_format(image), ()


def _natural(image: MedImage, seg_kind: SegKind) -> tuple[ScanFormat, tuple[str, ...]]:
    if image.format != "dicom":
        return natural_format(image), ()
    try:
        _check_seg(image, seg_kind)
    except BadInput as error:
        return "png", (f"{NO_SEG}: it {error.problem.removeprefix(f'{image.name}: ')}",)
    return "seg", ()


def _checked(image: MedImage, format: ScanFormat, seg_kind: SegKind, corners: Corners | None) -> ScanFormat:
    needed, spoken = _LIES_ON.get(format, ((image.format,), ""))
    if image.format not in needed:
        raise BadInput(f"{image.name}: {spoken}, which this is not", "choose png or npy")
    if format in (*VOLUME_SUFFIXES, "seg.nrrd"):
        _check_volume(image, format, corners)
    if format == "seg":
        _check_seg(image, seg_kind)
    if format == "rtstruct":
        from medclipsam.io.dicom.rtstruct import check_rtstruct  # noqa: PLC0415

        check_rtstruct(image)
    return format


def _check_volume(image: MedImage, format: ScanFormat, corners: Corners | None) -> None:
    volume = volume_of(image, corners)
    if format == "seg.nrrd":
        check_oriented(volume, format)
    else:
        check_format(volume, cast(VolumeFormat, format))


def _check_seg(image: MedImage, kind: SegKind) -> None:
    """highdicom is loaded where a SEG is wanted, and nowhere else."""
    from medclipsam.io.dicom.seg import check_seg  # noqa: PLC0415

    check_seg(image, kind)
