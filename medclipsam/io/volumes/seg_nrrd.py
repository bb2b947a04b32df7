"""Writes the masks of all prompts on a volume as one segmentation that 3D Slicer opens (.seg.nrrd).

    prompts that do not overlap   one layer: 3-D, each prompt a label value from 1 on
    prompts that do               several layers: an axis of kind `list` before the three in space

Each prompt is a segment with its name, a colour, its extent, and the terminology entry of the codes that a DICOM SEG
would have. Format: https://slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.atomic import atomic_path
from medclipsam.io.volumes.masks import SLICER_SUFFIX, blocks, check_masks, check_oriented
from medclipsam.io.volumes.nrrd import header_lines, pack, patient_geometry
from medclipsam.sides import DecidedSides
from medclipsam.types import Side

if TYPE_CHECKING:
    from medclipsam.io.dicom.seg_codes import SegmentCode
    from medclipsam.io.volumes.source import Volume

MOST_SEGMENTS = 255
CATEGORIES = "Segmentation category and type - 3D Slicer General Anatomy list"
REGIONS = "Anatomic codes - DICOM master list"
_LABELMAP = "Binary labelmap"

Masks = Mapping[int, NDArray[np.bool_]]


def write_seg_nrrd(volume: Volume, masks: Mapping[str, Masks], path: Path, sides: DecidedSides | None = None) -> Path:
    """Write the masks of several prompts on one volume.

    Args:
        volume: `image.origin.volume` of any of its slices.
        masks: prompt -> `image.origin.index` -> (height, width) mask as drawn on that slice; others are empty.
        path: the file without its suffix; `.seg.nrrd` is added.
        sides: which prompts' masks were cut to a side of the patient.

    Returns:
        The path with its suffix.

    Raises:
        BadInput: a volume that does not say how it lies in the patient, masks that are not of its slices, or more
            prompts than `MOST_SEGMENTS`.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    check_oriented(volume, "seg.nrrd")
    if len(masks) > MOST_SEGMENTS:
        raise BadInput(f"{len(masks)} prompts are more than the {MOST_SEGMENTS} segments of a file", "ask for fewer")
    for each in masks.values():
        check_masks(volume, each)
    layers = _layers(masks)
    target = path.with_name(path.name + SLICER_SUFFIX)
    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        stream.write("\n".join([*_header(volume, masks, layers, sides or DecidedSides()), "", ""]).encode())
        pack(stream, _labelled(volume, masks, layers))
    return target


def _layers(masks: Mapping[str, Masks]) -> list[list[str]]:
    """The prompts of each layer, each in the first that has room for it."""
    layers: list[list[str]] = []
    for prompt, mine in masks.items():
        free = (layer for layer in layers if not any(_overlap(mine, masks[other]) for other in layer))
        room = next(free, None)
        if room is None:
            layers.append([prompt])
        else:
            room.append(prompt)
    return layers


def _overlap(one: Masks, other: Masks) -> bool:
    return any((one[index] & other[index]).any() for index in one.keys() & other.keys())


def _labelled(volume: Volume, masks: Mapping[str, Masks], layers: Sequence[Sequence[str]]) -> Iterator[NDArray[Any]]:
    """Blocks of label values: (a, b, some planes), or with several layers (layers, a, b, some planes)."""
    for some in zip(*(blocks(volume, masks[prompt]) for layer in layers for prompt in layer), strict=True):
        inside = iter(some)
        labelled = [
            np.max([next(inside) * np.uint8(value) for value, _ in enumerate(layer, 1)], axis=0) for layer in layers
        ]
        yield labelled[0] if len(layers) == 1 else np.stack(labelled)


def _header(
    volume: Volume, masks: Mapping[str, Masks], layers: Sequence[Sequence[str]], sides: DecidedSides
) -> list[str]:
    geometry, sizes, kinds = patient_geometry(volume.grid), volume.grid.shape, ("domain",) * 3
    if len(layers) > 1:
        geometry["space directions"] = f"none {geometry['space directions']}"
        lines = header_lines((len(layers), *sizes), geometry, ("list", *kinds))
    else:
        lines = header_lines(sizes, geometry, kinds)
    place = {prompt: (number, value) for number, layer in enumerate(layers) for value, prompt in enumerate(layer, 1)}
    for number, (prompt, mine) in enumerate(masks.items()):
        fields = _segment(number, prompt, sides.of(prompt), _extent(volume, mine), place[prompt])
        lines += [f"Segment{number}_{key}:={text}" for key, text in fields.items()]
    return [
        *lines,
        f"Segmentation_ContainedRepresentationNames:={_LABELMAP}|",
        f"Segmentation_MasterRepresentation:={_LABELMAP}",
        f"Segmentation_SourceRepresentation:={_LABELMAP}",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ]


def _segment(
    number: int, prompt: str, side: Side | None, extent: Sequence[int], place: tuple[int, int]
) -> dict[str, str]:
    from medclipsam.io.dicom.maker import colour  # noqa: PLC0415
    from medclipsam.io.dicom.seg_codes import segment_code, short_text  # noqa: PLC0415

    name = short_text(prompt)
    return {
        "ID": f"Segment_{number + 1}",
        "Name": name,
        "NameAutoGenerated": "0",
        "Color": " ".join(f"{part / 255:.6f}" for part in colour(number + 1)),
        "ColorAutoGenerated": "0",
        "Extent": " ".join(map(str, extent)),
        "LabelValue": str(place[1]),
        "Layer": str(place[0]),
        "Tags": f"Segmentation.Status:inprogress|TerminologyEntry:{terminology(segment_code(prompt, side))}|",
    }


def terminology(code: SegmentCode) -> str:
    """A terminology entry of Slicer: category, type and its modifier, region and its modifier."""
    region = code.regions[0] if code.regions else None
    what = map(_code, (code.category, code.type, code.type_side))
    return "~".join((CATEGORIES, *what, REGIONS, _code(region), _code(code.region_side)))


def _code(code: Any) -> str:
    """Scheme, value and meaning, without the characters that part them from others."""
    if code is None:
        return "^^"
    words = (code.scheme_designator, code.value, code.meaning)
    return "^".join(word.translate(dict.fromkeys(map(ord, "^~|"), " ")) for word in words)


def _extent(volume: Volume, masks: Masks) -> tuple[int, ...]:
    """First and last voxel along each axis; of an empty mask 0 and -1, as Slicer writes it."""
    first, last = np.array(volume.grid.shape), np.full(3, -1)
    others = [axis for axis in range(3) if axis != volume.axis]
    for index, mask in masks.items():
        if mask.any():
            places = np.argwhere(volume.view.place(mask))
            for axis, low, high in zip(others, places.min(axis=0), places.max(axis=0), strict=True):
                first[axis], last[axis] = min(first[axis], low), max(last[axis], high)
            first[volume.axis], last[volume.axis] = min(first[volume.axis], index), max(last[volume.axis], index)
    if (last < 0).any():
        return (0, -1) * 3
    return tuple(int(edge) for pair in zip(first, last, strict=True) for edge in pair)
