"""Writes a DICOM structured report beside each DICOM SEG of a run: CASE_seg.dcm, CASE_sr.dcm.

A SEG with all slices of a stack is measured as a whole; one with some of them, image by image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medclipsam.errors import BadInput
from medclipsam.io.mask_files import MaskFiles, WrittenSeg
from medclipsam.io.mask_formats import ScanFormat
from medclipsam.volume.measuring import Measuring

if TYPE_CHECKING:
    from medclipsam.io.dicom.sr import Finding

_SEG_ENDING, _SR_ENDING = "_seg.dcm", "_sr"


def check_reported(formats: Sequence[ScanFormat]) -> None:
    """A structured report speaks of a DICOM SEG.

    Raises:
        BadInput: none is written.
    """
    if "seg" not in formats:
        raise BadInput("a structured report refers to a DICOM SEG, and none is written", "add --format seg")


def beside(seg: Path) -> Path:
    """Where the report of a SEG goes, without its suffix: CASE_seg.dcm -> CASE_sr."""
    return seg.with_name(seg.name.removesuffix(_SEG_ENDING) + _SR_ENDING)


def write_reports(
    masks: MaskFiles,
    measuring: Measuring,
    places_mm: Sequence[float] | None,
    *,
    is_stack: bool,
    preset: str,
    place: Callable[[Path], Path] = beside,
) -> list[Path]:
    """Write a report for each SEG.

    Args:
        masks: finished.
        measuring: what was measured on them.
        places_mm: where the slices of a stack lie.
        is_stack: whether the images are slices of one stack.
        preset: what made the masks.
        place: where the report of a SEG goes, without its suffix.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
    """
    from medclipsam.io.dicom.sr import write_sr  # noqa: PLC0415

    written = []
    for seg in masks.segs:
        whole = is_stack and all(measuring.on_images(prompt).keys() == seg.origins.keys() for prompt in seg.prompts)
        findings = list(_of_stack(seg, measuring, places_mm) if whole else _of_images(seg, measuring))
        slices = dict(seg.origins) if whole else {}
        written.append(write_sr(seg.path, findings, place(seg.path), slices=slices, preset=preset))
    return written


def _of_stack(seg: WrittenSeg, measuring: Measuring, places_mm: Sequence[float] | None) -> Iterator[Finding]:
    from medclipsam.io.dicom.sr import Finding  # noqa: PLC0415

    for prompt in seg.prompts:
        measures, parts = measuring.on_stack(prompt, places_mm)
        side = seg.sides.of(prompt)
        yield Finding(prompt=prompt, measures=measures, parts=parts, unit=measuring.unit(prompt), side=side)


def _of_images(seg: WrittenSeg, measuring: Measuring) -> Iterator[Finding]:
    """A finding on each image where there is one; of a prompt that is found nowhere, on the first."""
    from medclipsam.io.dicom.sr import Finding  # noqa: PLC0415

    for prompt in seg.prompts:
        measures = {name: each for name, each in measuring.on_images(prompt).items() if name in seg.origins}
        found = [name for name, each in measures.items() if each.area_px] or list(measures)[:1]
        for name in found:
            yield Finding(
                prompt=prompt,
                measures=measures[name],
                parts=measures[name].parts,
                unit=measuring.unit(prompt),
                frame=seg.origins[name],
                side=seg.sides.of(prompt),
            )
