"""Which encodings a training run has: images plainly or in augmented copies, in the order in which they are made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from medclipsam.training.data.index import LabelledImage
from medclipsam.training.embedded.corpus import Folder

PLAIN_SHARE = 0.5
"""Share of images whose plain encoding is taken first, and alone where they have but one, whether they show a target or
not: were one kind always plain and the other always augmented, that alone would tell them apart."""
SERIES = 1000
"""Copies of an image that a series has room for."""
EMPTY_COPIES = 2.0
"""Images on which all that was searched for is missing are rare, and repeated this much more often; in between, as the
share of what is missing says."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One encoding: an image, and which augmented copy of it (0 = the plain image)."""

    image: LabelledImage
    copy: int = 0

    def generator(self) -> np.random.Generator:
        """Randomness that depends on the image and the copy alone."""
        digest = hashlib.sha256(f"{self.image.image}#{self.copy}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def with_copies(images: Iterable[LabelledImage], folder_of: Callable[[str], Folder], series: int = 0) -> list[Variant]:
    """Repeat images as their folders say, in an order of which an early stop keeps every folder's share, or more, and
    plain encodings beside augmented ones.

    Args:
        series: two series have no augmented copy in common.
    """
    planned: list[tuple[float, Variant]] = []
    for image in images:
        folder = folder_of(image.folder)
        copies = _copies(image, folder.copies * more_copies(image))
        variants = [Variant(image=image, copy=copy and copy + SERIES * series) for copy in copies]
        planned += [
            (folder.turn * (place + _share(variant)) / len(variants), variant) for place, variant in enumerate(variants)
        ]
    return [variant for _, variant in sorted(planned, key=lambda item: item[0])]


def _copies(image: LabelledImage, budget: float) -> list[int]:
    """Which copies of an image are encoded, in the order in which they are taken."""
    generator = Variant(image=image).generator()
    whole, rest = int(budget), budget - int(budget)
    count = whole + bool(generator.random() < rest)
    if generator.random() < PLAIN_SHARE:
        return list(range(count))
    return [*range(1, count), 0] if count > 1 else [1] * count


def more_copies(image: LabelledImage) -> float:
    """How much more often than its folder's others an image is repeated; see `EMPTY_COPIES`."""
    return 1 + (EMPTY_COPIES - 1) * len(image.missing) / max(1, len(image.targets))


def _share(variant: Variant) -> float:
    """A number in [0, 1) that depends on the image and the copy alone."""
    return int(hashlib.sha256(f"{variant.image.image}{variant.copy}".encode()).hexdigest()[:12], 16) / 16**12
