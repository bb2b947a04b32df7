"""Finds among the files of a folder those that are masks of an image beside them: called so, and of few values.

x.png  x_mask.png  x_mask_1.png       the two masks      (BUSI as it is downloaded)
y.nii.gz  y_gt.nii.gz                 the label map    (ACDC)
x.png  x_gt.png with grey levels      none: it is called a mask and is a picture
z_mask.png                            none: there is no z
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from medclipsam.errors import BadInput
from medclipsam.io.label_files import read_label_values
from medclipsam.io.mask_names import image_of
from medclipsam.io.naming import stem_of

MOST_VALUES = 16
"""Labels of a mask beside background; a picture has more grey levels."""
LOSSY = (".jpg", ".jpeg")
HALO = 64
"""Compression leaves values as near to black or white as this."""
MOST_BETWEEN = 0.02
"""Share of a compressed mask's pixels that may lie between."""


def masks_beside_images(folder: Path, files: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """The files that are masks of other files, in their order.

    Args:
        folder: that paths count from.
        files: images, by their path below it.
    """
    stems: dict[PurePosixPath, set[str]] = defaultdict(set)
    listed = list(files)
    for file in listed:
        stems[file.parent].add(stem_of(file.name))
    return [
        file for file in listed if image_of(stem_of(file.name)) in stems[file.parent] and holds_labels(folder / file)
    ]


def holds_labels(path: Path) -> bool:
    """Whether a file holds few values, as masks and label maps do; False where it cannot be read."""
    if path.name.lower().endswith(LOSSY):
        return _is_black_and_white(path)
    try:
        values = read_label_values(path).values
    except BadInput:
        return False
    return len(np.unique(values[values > 0])) <= MOST_VALUES


def _is_black_and_white(path: Path) -> bool:
    from medclipsam.io.reading import read_image  # noqa: PLC0415  (where there is such a file)

    try:
        grey = read_image(path).pixels.mean(axis=-1) * 255
    except BadInput:
        return False
    return bool(np.mean((grey > HALO) & (grey < 255 - HALO)) <= MOST_BETWEEN)
