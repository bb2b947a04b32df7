"""What LiteMedSAM makes of the pictures of a data set and of varied copies of them, each with its label beside it.

    dataset/ NAME --plain, as it is-->  encoding 64x64x128, pixels, coverage of inside and of ignored   copy 0
                  --augment---------->  encoding of another view, the label moved alike                 copies 1, 2, ...

Every copy is encoded once, into a cache that runs may share (`medclipsam.training.embedded.encodings`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclipsam.io.atomic import atomic_path
from medclipsam.refine.dataset import PictureSet
from medclipsam.runs.labels import FOREGROUND, IGNORE
from medclipsam.training.data.captions import Skipped
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.embedded.axes import Axes
from medclipsam.training.embedded.encodings import Encoder, Encodings
from medclipsam.training.embedded.variants import Variant
from medclipsam.training.journal import Observer

INSIDE, IGNORED = "inside", "ignored"
MASKS = {INSIDE: FOREGROUND, IGNORED: IGNORE}
"""What is moved with a picture, by the value of the label that it stands for."""
FOLDER = "masks"


def encode_views(
    data: PictureSet,
    names: Sequence[str],
    copies: int,
    encoder: Encoder,
    *,
    axes: Axes,
    observer: Observer | None = None,
) -> tuple[Encodings, list[Skipped]]:
    """Encode pictures and varied copies of them; what is encoded already is read.

    Args:
        names: which.
        copies: views of each picture, the plain one first.
        encoder: of the folder that holds the data set.

    Returns:
        Rows whose `group` is the picture's name and whose masks are those of `MASKS`, and what could not be read.

    Raises:
        CannotWrite: the disk is full or the folder is not writable.
    """
    images = [_image(data, name, encoder.root) for name in names]
    variants = [Variant(image=image, copy=copy) for copy in range(copies) for image in images]
    return encoder.encode(variants, axes, observer)


def _image(data: PictureSet, name: str, root: Path) -> LabelledImage:
    """A picture as the encoder reads it, its masks written where they are not there."""
    labels = data.labels(name)
    masks = {called: data.root / FOLDER / f"{name}-{called}.png" for called in MASKS}
    for called, path in masks.items():
        if not path.is_file():
            _write(path, (labels == MASKS[called]).astype(np.uint8) * 255)
    return LabelledImage(
        image=str(data.picture(name).relative_to(root)),
        folder=data.prompt,
        group=name,
        targets=tuple(masks),
        masks=tuple(str(path.relative_to(root)) for path in masks.values()),
    )


def _write(path: Path, mask: NDArray[np.uint8]) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(mask).save(temporary, format="PNG")
