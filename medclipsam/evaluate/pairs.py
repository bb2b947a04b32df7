"""Which prediction belongs to which reference? The one with the same path below its folder, endings aside.

    predictions/benign/a.png    <->   references/benign/a.nii.gz    case "benign/a"
    predictions/b.png           <->   references/b_mask.png         case "b", with the reference suffix `_mask`
    predictions/c.png           <->   -                             an orphan, named

Files that are no masks (tables, reports) and hidden files are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.evaluate.masks import MASK_SUFFIXES, mask_suffix


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Two folders laid beside each other."""

    both: Mapping[str, tuple[Path, Path]]
    """Case to (prediction, reference), by name."""
    only_predicted: Mapping[str, Path]
    """Predictions without a reference."""
    only_reference: Mapping[str, Path]
    """References without a prediction."""


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
    found, expected = masks_below(predictions, predicted_suffix), masks_below(references, reference_suffix)
    return Pairing(
        both={case: (path, expected[case]) for case, path in found.items() if case in expected},
        only_predicted={case: path for case, path in found.items() if case not in expected},
        only_reference={case: path for case, path in expected.items() if case not in found},
    )


def masks_below(folder: Path, suffix: str = "") -> dict[str, Path]:
    """The mask files of a folder by case, in order of their names.

    Raises:
        BadInput: a folder that is missing or holds no masks, or two files for the same case.
    """
    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder}", "give a folder of masks")
    masks: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        case = _case(path.relative_to(folder), suffix)
        if case is None or not path.is_file():
            continue
        if case in masks:
            raise BadInput(f"{folder.name} holds both {masks[case].name} and {path.name}", "keep one of them")
        masks[case] = path
    if not masks:
        ending = f" that end in {suffix!r}" if suffix else ""
        raise BadInput(f"{folder} holds no masks{ending}", f"masks are {', '.join(MASK_SUFFIXES)}")
    return masks


def _case(place: Path, suffix: str) -> str | None:
    """The relative path without ending and suffix; None for what is no mask."""
    ending = mask_suffix(place.name)
    if ending is None or any(part.startswith(".") for part in place.parts):
        return None
    stem = place.name[: -len(ending)]
    if not stem.endswith(suffix) or stem == suffix:
        return None
    return place.with_name(stem.removesuffix(suffix)).as_posix()
