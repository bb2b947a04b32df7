"""Tells by their names which files are masks of an image beside them, as data sets are downloaded.

benign (1).png   benign (1)_mask.png   benign (1)_mask_1.png    ->   two masks of "benign (1)"
patient1.nii.gz  patient1_seg.nii.gz                            ->   a mask of "patient1"
"""

from __future__ import annotations

import re

_WORDS = (
    *("masks?", "seg", "segm", "segmentation", "segmented", "labels?", "labelmap", "gt", "ground-?truth"),
    *("annotations?", "annot", "roi", "manual"),
)
_MASK = re.compile(rf"(?P<first>(?P<image>.*[^-_. ])[-_. ](?:{'|'.join(_WORDS)}))(?:[-_. ]?\d+)?", re.IGNORECASE)


def image_of(stem: str) -> str | None:
    """The stem of the image that a mask with this stem would belong to; None where it is not called a mask."""
    found = _MASK.fullmatch(stem)
    return found["image"] if found else None


def first_mask_of(stem: str) -> str | None:
    """The stem of the first of several masks that this one, which ends in a number, would belong to."""
    found = _MASK.fullmatch(stem)
    return found["first"] if found and found["first"] != stem else None


def is_named(stem: str, suffix: str) -> bool:
    """Whether a stem ends in the suffix of masks, perhaps with a number behind it: `a_mask_1` in `_mask`."""
    return re.fullmatch(rf".+{re.escape(suffix)}(?:[-_. ]\d+)?", stem) is not None if suffix else bool(stem)


def without(stem: str, suffix: str) -> str:
    """The stem without the suffix of masks and the number behind it."""
    return re.sub(rf"{re.escape(suffix)}(?:[-_. ]\d+)?$", "", stem) if suffix else stem
