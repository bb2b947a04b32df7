"""Makes training labels of a mask: background, foreground, and pixels that the training should ignore.

0 background     1 foreground     2 ignore (nnU-Net: the highest label, named "ignore" in dataset.json)

p(SAM)  0 ----------[0.5 - band ... 0.5 + band]---------- 1
         0                      2                       1
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medclipsam.types import Segmentation

BACKGROUND, FOREGROUND, IGNORE = 0, 1, 2
EVEN = 0.5


def training_labels(result: Segmentation, band: float, *, doubtful: bool = False) -> NDArray[np.uint8]:
    """The labels of one picture.

    Args:
        result: the answer; where nothing was found, all background.
        band: half width of the probabilities that are doubtful, in [0, 0.5].
        doubtful: the whole mask is not believed, so the whole picture is ignored.

    Returns:
        (height, width): 0, 1 and 2. Also ignored: pixels that the method left out of the mask, or took into it, against
        their probability.
    """
    if doubtful:
        return np.full(result.mask.shape, IGNORE, np.uint8)
    unsure = (np.abs(result.probability - EVEN) < band) | ((result.probability > EVEN) != result.mask)
    return np.where(unsure & result.found, IGNORE, result.mask.astype(np.uint8)).astype(np.uint8)
