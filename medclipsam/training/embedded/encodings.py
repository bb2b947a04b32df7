"""What LiteMedSAM's frozen encoder makes of each training image: encoded once, turned, kept in 8 bits.

One encoding costs far more than a training step of the small tower above it, so every image and a few augmented copies
are encoded once into a feature cache. The 256 channels are turned onto their first principal axes, which the tower
keeps, and rounded to 8 bits: with its pixels 0.7 megabytes an encoding.

    index.csv -> Variant (image, copy) -> augment -> encoder -> Axes -> 64x64x128 int8 + pixels + coverage of each mask
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.compact import OUTLINE
from medclipsam.backbones.sam import PromptableSegmenter
from medclipsam.backbones.sam_loading import load_sam
from medclipsam.errors import BadInput
from medclipsam.io import read_image
from medclipsam.io.label_files import read_foreground
from medclipsam.runtime import gains_from_bf16
from medclipsam.training import distributed
from medclipsam.training.data.augment import PLAIN, Strength, augment
from medclipsam.training.data.captions import Skipped
from medclipsam.training.data.feature_cache import FeatureCache, digest_of_image, read_features, write_features
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.embedded.axes import Axes
from medclipsam.training.embedded.corpus import Folder
from medclipsam.training.embedded.variants import Variant
from medclipsam.training.journal import Observer
from medclipsam.weights import find

FRAME = 256
"""Side of the encoder's input, in pixels."""
IMAGES_FOR_AXES = 64
"""Training images on which the axes are fitted."""


def encoding_precision(device: torch.device) -> torch.dtype:
    """Number format of LiteMedSAM's encoder: bfloat16, half the time of single precision, where the hardware gains
    from it; a processor that emulates it takes many times as long as in single precision."""
    return torch.bfloat16 if gains_from_bf16(device) else torch.float32


class Encoded(NamedTuple):
    """One image as the cache keeps it."""

    features: Tensor
    """(64, 64, CHANNELS) in int8."""
    pixels: Tensor
    """(256, 256, 3) in 0..255."""
    masks: Tensor
    """(targets, 128, 128): coverage of each cell in 0..255."""


@dataclass(frozen=True)
class Encodings:
    """Encoded images, read as they are asked for."""

    images: Sequence[LabelledImage]
    levels: Tensor
    """(CHANNELS,): see `Axes.levels`."""
    read: Callable[[int], Encoded]
    """What lies in a row."""
    name: str = ""
    """Stands for their content."""

    def __len__(self) -> int:
        return len(self.images)

    def stacked(self, rows: Sequence[int]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Features (B, 64, 64, CHANNELS) and pixels (B, 256, 256, 3) in [0, 1], as a tower takes them, and masks."""
        read = [self.read(row) for row in rows]
        features = torch.stack([each.features for each in read]).float() * self.levels
        return features, as_pixels(torch.stack([each.pixels for each in read])), [each.masks for each in read]

    def every(self, step: int) -> Encodings:
        """Each `step`-th of those that have targets."""
        rows = [row for row, image in enumerate(self.images) if image.targets][::step]
        return Encodings([self.images[row] for row in rows], self.levels, lambda row: self.read(rows[row]), self.name)


def as_pixels(levels: Tensor) -> Tensor:
    """0..255 -> [0, 1]."""
    return levels.float() / 255


def coverage_of(image: LabelledImage, masks: Tensor, targets: frozenset[str]) -> Tensor:
    """(128, 128) in [0, 1]: the union of the named targets' masks, of (targets, 128, 128) in 0..255."""
    rows = [row for row, target in enumerate(image.targets) if target in targets]
    return masks[rows].amax(dim=0).float() / 255


@dataclass(frozen=True)
class Encoder:
    """Encodes what a cache lacks; LiteMedSAM is loaded for the first image that is not there.

    Args:
        root: folder of the data.
        folder_of: what the folder of an image is.
    """

    root: Path
    cache: FeatureCache
    folder_of: Callable[[str], Folder]
    device: torch.device
    _digests: dict[str, str] = field(default_factory=dict)

    def axes(self, variants: Sequence[Variant]) -> Axes:
        """The axes of a few training images, fitted once for a cache: images added later are turned too.

        Raises:
            BadInput: none of them can be read.
        """
        path = self.cache.path("axes", find("lite-medsam").sha256, str(encoding_precision(self.device)))
        chosen = variants[:: max(1, len(variants) // IMAGES_FOR_AXES)]
        if not path.is_file() and distributed.rank() == 0:
            encodings = [found for each in chosen if (found := self._try(each)) is not None]
            if not encodings:
                raise BadInput("none of the images can be read", "check the folder of the data")
            axes = Axes.fitted(encodings)
            write_features(path, mean=axes.mean, matrix=axes.matrix, step=axes.step)
        distributed.barrier()
        return Axes(**read_features(path))

    def encode(
        self, variants: Sequence[Variant], axes: Axes, observer: Observer | None = None
    ) -> tuple[Encodings, list[Skipped]]:
        """Encode what is missing; processes share the images. What cannot be read is told and left out.

        Raises:
            CannotWrite: the disk is full or the folder is not writable.
        """
        mine = range(distributed.rank(), len(variants), distributed.world_size())
        skipped = []
        for done, place in enumerate(mine, start=1):
            problem = self._encode_missing(variants[place], axes)
            if problem:
                skipped.append(Skipped(row=variants[place].image.image, reason=problem))
            if observer:
                observer({"kind": "encoding", "step": done, "steps": len(mine)})
        distributed.barrier()
        paths = [(each.image, self._path(each, axes)) for each in variants]
        there = [(image, path) for image, path in paths if path and path.is_file()]
        return _encodings(there, axes), skipped

    def _encode_missing(self, variant: Variant, axes: Axes) -> str:
        """Encode one variant if it is not there; why not, where it cannot be."""
        try:
            path = self._path(variant, axes)
            if path is None:
                digest_of_image(self.root / variant.image.image)  # raises what hindered the key
                return "a mask cannot be read"
            if not path.is_file():
                pixels, masks = self._load(variant)
                features = axes.rounded(self._encoding(pixels))
                write_features(path, features=features, pixels=levels_of(pixels), masks=cell_coverage(masks))
        except BadInput as error:
            return error.problem
        return ""

    def _path(self, variant: Variant, axes: Axes) -> Path | None:
        key = self._key(variant)
        return self.cache.path("encoding and pixels", axes.digest, *key) if key else None

    def _key(self, variant: Variant) -> tuple[str, ...]:
        """All that an encoding depends on; empty where a file cannot be read."""
        try:
            digests = [self._digest(name) for name in (variant.image.image, *variant.image.masks)]
        except BadInput:
            return ()
        strength = str(self._strength(variant))
        how = (find("lite-medsam").sha256, str(encoding_precision(self.device)), str(OUTLINE))
        return (*how, *digests, variant.image.image, str(variant.copy), strength)

    def _digest(self, name: str) -> str:
        if name not in self._digests:
            self._digests[name] = digest_of_image(self.root / name)
        return self._digests[name]

    def _try(self, variant: Variant) -> Tensor | None:
        try:
            return self._encoding(self._load(variant)[0])
        except BadInput:
            return None

    @torch.inference_mode()
    def _encoding(self, pixels: NDArray[np.float32]) -> Tensor:
        """(256, 256, 3) in [0, 1] -> (1, 256, 64, 64) on the CPU."""
        frame = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(self.device)
        return self._sam.encode(frame).float().cpu()

    def _load(self, variant: Variant) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """See `varied`."""
        return varied(self.root, variant.image, self._strength(variant), variant.generator())

    def _strength(self, variant: Variant) -> Strength:
        return strength_of(self.folder_of(variant.image.folder)) if variant.copy else PLAIN

    @cached_property
    def _sam(self) -> PromptableSegmenter:
        return load_sam("lite-medsam", device=self.device, dtype=encoding_precision(self.device))


def varied(
    root: Path, image: LabelledImage, strength: Strength, generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """One variation of an image as a frame (256, 256, 3) in [0, 1], and its masks (targets, 256, 256).

    Raises:
        BadInput: a file that cannot be read, or a mask of another size.
    """
    pixels = read_image(root / image.image).pixels
    masks = [read_foreground(root / mask) for mask in image.masks]
    if any(mask.shape != pixels.shape[:2] for mask in masks):
        raise BadInput("a mask is not of the image's size")
    stack = np.stack(masks).astype(np.uint8) if masks else np.zeros((0, *pixels.shape[:2]), np.uint8)
    return augment(pixels, stack, FRAME, strength, generator)


def strength_of(folder: Folder) -> Strength:
    """How far augmented copies of a folder's images may move."""
    return Strength(single_channel=folder.single_channel, crush=folder.crush, darkest=folder.darkest)


@dataclass(frozen=True)
class _Files:
    """Reads encodings from a cache; a class, so that processes that read ahead can be given it."""

    paths: Sequence[Path]

    def __call__(self, row: int) -> Encoded:
        return Encoded(**read_features(self.paths[row]))


def _encodings(there: Sequence[tuple[LabelledImage, Path]], axes: Axes) -> Encodings:
    name = hashlib.sha256("".join(path.name for _, path in there).encode()).hexdigest()
    return Encodings([image for image, _ in there], axes.levels, _Files([path for _, path in there]), name)


def levels_of(pixels: NDArray[np.float32]) -> Tensor:
    """(256, 256, 3) in [0, 1] -> the same in 0..255."""
    return (torch.from_numpy(pixels) * 255).round().byte()


def cell_coverage(masks: NDArray[np.uint8]) -> Tensor:
    """(targets, 256, 256) of 0 and 1 -> (targets, 128, 128) coverage in 0..255."""
    if not len(masks):
        return torch.zeros(0, OUTLINE, OUTLINE, dtype=torch.uint8)
    return (F.avg_pool2d(torch.from_numpy(masks)[:, None].float(), FRAME // OUTLINE)[:, 0] * 255).round().byte()
