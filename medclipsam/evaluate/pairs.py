"""Pairs predictions with references: those of one case have the same path below their folders, endings aside.

    predictions/benign/a.png    <->   references/benign/a.nii.gz         case "benign/a"
    predictions/b.png           <->   references/b_mask.png              case "b"
    predictions/c.png           <->   references/c.png (the scan), c_mask.png, c_mask_1.png    both masks, united
    predictions/d_0000.nii.gz   <->   references/d.nii.gz                case "d": `_0000` names a channel in nnU-Net
    predictions/e.png           <->   -                                  an orphan, named

Files that are no masks (tables, reports) and hidden files are passed over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from medclipsam.errors import BadInput
from medclipsam.evaluate.masks import MASK_SUFFIXES, mask_suffix, read_labels
from medclipsam.io.mask_names import first_mask_of, image_of, is_named, without

if TYPE_CHECKING:
    from medclipsam.io.source import Axis

FIRST_CHANNEL = "_0000"
"""What nnU-Net lays behind the case in the names of images, and not in those of labels."""


@dataclass(frozen=True, kw_only=True)
class Masks:
    """The mask of a case: one file, several whose masks are united, or the slices of a stack."""

    paths: tuple[Path, ...]
    slices: tuple[int, ...] | None = None
    """The number of each file's slice in its volume; None where the files are no stack."""
    as_shown: bool = False
    """Whether it lies as `segment` shows a NIfTI scan, rather than as the scan's file stores it."""
    axis: Axis = None
    """The axis that the volume's slices were stacked along, where it was chosen."""


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Two folders laid beside each other."""

    both: Mapping[str, tuple[Masks, Masks]]
    """Case to (prediction, reference), by name."""
    only_predicted: Mapping[str, Masks]
    """Predictions without a reference."""
    only_reference: Mapping[str, Masks]
    """References without a prediction."""
    notes: tuple[str, ...] = ()
    """What a person should know of how files were paired."""


def pair_folders(
    predictions: Path, references: Path, predicted_suffix: str = "", reference_suffix: str = ""
) -> Pairing:
    """Pair the masks of two folders and all below them.

    Args:
        predictions: folder of predicted masks.
        references: folder of reference masks.
        predicted_suffix: what follows the case in the names of predictions, as `_mask`; others are passed over.
        reference_suffix: the same for references.

    Raises:
        BadInput: a folder that is missing or holds no masks, or two files of one folder for the same case.
    """
    found = masks_below(predictions, predicted_suffix)
    listed = masks_below(references, reference_suffix)
    named = _without_channel(found, listed)
    expected, notes = gathered(listed, named.__contains__)
    return Pairing(
        both={case: (masks, expected[case]) for case, masks in named.items() if case in expected},
        only_predicted={case: masks for case, masks in named.items() if case not in expected},
        only_reference={case: masks for case, masks in expected.items() if case not in named},
        notes=(*_notes(named, ()), *notes),
    )


def masks_below(folder: Path, suffix: str = "") -> dict[str, Masks]:
    """The mask files of a folder by case, in order of their names; of a suffix with numbers behind it all as one.

    Raises:
        BadInput: a folder that is missing or holds no masks, or two files for the same case.
    """
    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder}", "give a folder of masks")
    stems: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        stem = _stem(path.relative_to(folder), suffix)
        if stem is None or not path.is_file():
            continue
        if stem in stems:
            raise BadInput(f"{folder.name} holds both {stems[stem].name} and {path.name}", "keep one of them")
        stems[stem] = path
    if not stems:
        ending = f" that end in {suffix!r}" if suffix else ""
        raise BadInput(f"{folder} holds no masks{ending}", f"masks are {', '.join(MASK_SUFFIXES)}")
    cases: dict[str, list[Path]] = defaultdict(list)
    for stem, path in stems.items():
        cases[without(stem, suffix)].append(path)
    return {case: Masks(paths=tuple(paths)) for case, paths in cases.items()}


def gathered(
    references: Mapping[str, Masks], is_predicted: Callable[[str], bool]
) -> tuple[dict[str, Masks], tuple[str, ...]]:
    """References by the case that they belong to, and notes: several masks of an image that was predicted are one.

    Args:
        references: by name.
        is_predicted: whether there is a prediction of this name.

    Raises:
        BadInput: a file and another that is called its mask are both masks.
    """
    homes: dict[str, list[str]] = defaultdict(list)
    for name in references:
        homes[_home(name, references, is_predicted)].append(name)
    cases: dict[str, Masks] = {}
    scans: list[Path] = []
    for case, names in homes.items():
        parts = [name for name in names if name != case]
        if case not in names or _is_first(case, parts):
            cases[case] = _united(references, names)
        else:
            _check_image(references[case], references[parts[0]])
            scans += references[case].paths
            cases[case] = _united(references, parts)
    return dict(sorted(cases.items())), tuple(_notes(cases, scans))


def _united(references: Mapping[str, Masks], names: Sequence[str]) -> Masks:
    return Masks(paths=tuple(path for name in names for path in references[name].paths))


def _is_first(case: str, parts: Sequence[str]) -> bool:
    """Whether all parts are the same name with a number behind it."""
    stem = PurePosixPath(case).name
    return all(first_mask_of(PurePosixPath(part).name) == stem for part in parts)


def _home(name: str, references: Mapping[str, Masks], is_predicted: Callable[[str], bool]) -> str:
    """The case of a reference: itself, the image that it is called a mask of, or the first of that image's masks."""
    place = PurePosixPath(name)
    image, first = image_of(place.name), first_mask_of(place.name)
    if is_predicted(name):
        return name
    if image and is_predicted(of_image := str(place.with_name(image))):
        return of_image
    if first and (of_first := str(place.with_name(first))) in references:
        return of_first
    return name


def _check_image(image: Masks, mask: Masks) -> None:
    """Refuse what has a mask of its name beside it and is one itself: nobody knows which is the reference."""
    names = image.paths[0].name, mask.paths[0].name
    try:
        is_mask = set(read_labels(image.paths[0]).labels) in ({1}, {255})
    except BadInput:
        return
    if is_mask:
        raise BadInput(f"{names[0]} and {names[1]} are both masks of one case", "choose, as by --ref-suffix _mask")


def _notes(cases: Mapping[str, Masks], scans: Sequence[Path]) -> Iterator[str]:
    united = {case: [path.name for path in masks.paths] for case, masks in cases.items() if len(masks.paths) > 1}
    if united:
        case, names = next(iter(united.items()))
        yield f"several masks of one image are united, in {len(united)} of the cases: {', '.join(names)} of {case}"
    if scans:
        yield f"images with masks of their name beside them are no references, {len(scans)} in all: {scans[0].name}"


def _without_channel(found: Mapping[str, Masks], expected: Mapping[str, Masks]) -> dict[str, Masks]:
    """Predictions of nnU-Net's images under the names of their labels, where only those are references."""
    bare = {case: case.removesuffix(FIRST_CHANNEL) for case in found}
    return {
        bare[case] if case not in expected and bare[case] in expected and bare[case] not in found else case: masks
        for case, masks in found.items()
    }


def _stem(place: Path, suffix: str) -> str | None:
    """The relative path without ending; None for what is no mask, or has not the suffix."""
    ending = mask_suffix(place.name)
    if ending is None or any(part.startswith(".") for part in place.parts):
        return None
    stem = place.name[: -len(ending)]
    return place.with_name(stem).as_posix() if is_named(stem, suffix) else None
