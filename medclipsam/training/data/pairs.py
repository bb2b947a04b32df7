"""Pairs as tensors: read, cropped, brought into the tower's square, normalised; captions as tokens.

    Pair -> read_image -> random crop (training) -> Frame -> (3, side, side)     one batch of pixels, tokens
         -> caption ------------------------------------> tokens (context,)      and keys of equal captions

What is random depends on the seed, the epoch and the pair. An image that cannot be read is replaced by the next pair's
and reported, so that one bad file stops neither the run nor its resumption.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from medclipsam.backbones.geometry import Frame
from medclipsam.config import FitKind
from medclipsam.errors import BadInput
from medclipsam.io import read_image
from medclipsam.runtime import generator_for
from medclipsam.training.data.captions import Pair, Skipped
from medclipsam.training.data.sampling import Key
from medclipsam.training.data.tables import TarMember
from medclipsam.training.journal import Observer
from medclipsam.types import FloatArray, MedImage

RATIO = (3 / 4, 4 / 3)
"""Range of a random crop's width over height (torchvision's RandomResizedCrop, which open_clip trains with)."""
TRIES = 10
"""Crops that are drawn before the whole image is taken (the same source)."""


class Tokenizer(Protocol):
    """Captions to ids."""

    def __call__(self, captions: Sequence[str], /) -> Tensor:
        """n captions -> (n, context), padded."""


class PairSource(Protocol):
    """Pairs as a map-style dataset, ready once they are prepared."""

    def prepare(self, folder: Path, device: torch.device, observer: Observer | None = None) -> Sequence[Skipped]:
        """Do once what no step changes, and keep it.

        Args:
            folder: where to keep it; several runs may share one.
            device: where to do it.
            observer: is told how far it is, in entries of the kind `encoding`.

        Returns:
            Pairs whose image cannot be read, as far as this process looked at them.
        """

    def __len__(self) -> int:
        """How many pairs there are."""

    def __getitem__(self, key: Key) -> PairExample:
        """The pair of a key, or the next whose image can be read."""


class PairExample(NamedTuple):
    """One pair as tensors."""

    image: Tensor
    """What enters the image tower: (3, side, side) pixels, normalised, or what a frozen encoder made of them."""
    text: Tensor
    """What enters the text tower: (context,) tokens, or a sentence vector."""
    caption: int
    """Equal captions have equal numbers."""
    unreadable: tuple[Skipped, ...] = ()
    """What had to be replaced on the way."""


class PairBatch(NamedTuple):
    """Rows that belong together."""

    image: Tensor
    """(B, ...) of what `PairExample.image` is."""
    text: Tensor
    """(B, ...) likewise."""
    captions: Tensor
    """(B,) integers; equal captions have equal ones."""
    unreadable: tuple[Skipped, ...] = ()

    def to(self, device: torch.device) -> PairBatch:
        """The same on another device."""
        image, text, captions = (part.to(device, non_blocking=True) for part in self[:3])
        return PairBatch(image, text, captions, self.unreadable)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What an image goes through before the image tower."""

    side: int
    """Side of the tower's square, in pixels."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: FitKind = "squash"
    """The paper says "resized"."""
    crop_scale: float = 1.0
    """Smallest share of the area that a random crop keeps; 1 crops nothing."""

    def __call__(self, image: MedImage, generator: torch.Generator) -> Tensor:
        """(3, side, side), normalised."""
        pixels = image.pixels if self.crop_scale == 1 else random_crop(image.pixels, self.crop_scale, generator)
        height, width = pixels.shape[:2]
        square = Frame(kind=self.fit, size=(height, width), side=self.side).forward(pixels)
        return (square - torch.tensor(self.mean).view(3, 1, 1)) / torch.tensor(self.std).view(3, 1, 1)


class PairData:
    """Pairs as a map-style dataset.

    Args:
        pairs: at least one.
        seed: of the crops.
    """

    def __init__(self, pairs: Sequence[Pair], prepare: Preparation, tokenize: Tokenizer, seed: int = 0) -> None:
        self._pairs, self._prepare, self._tokenize, self._seed = pairs, prepare, tokenize, seed

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, key: Key) -> PairExample:
        """The pair of a key, or the next that can be read.

        Raises:
            BadInput: no image can be read.
        """
        epoch, first = key
        unreadable: list[Skipped] = []
        for place in range(first, first + len(self._pairs)):
            pair = self._pairs[place % len(self._pairs)]
            try:
                image = open_image(pair.image)
            except BadInput as error:
                unreadable.append(unreadable_image(pair, error))
                continue
            pixels = self._prepare(image, generator_for(self._seed, f"pair {epoch} {first}"))
            return PairExample(
                pixels, self._tokenize([pair.caption])[0], caption_number(pair.caption), tuple(unreadable)
            )
        raise no_image_left()

    def prepare(self, folder: Path, device: torch.device, observer: Observer | None = None) -> Sequence[Skipped]:
        """Nothing: crops make each image new."""
        return ()


def caption_number(caption: str) -> int:
    """The same for equal captions alone."""
    return int.from_bytes(hashlib.sha256(caption.encode()).digest()[:8], "little") >> 1


def unreadable_image(pair: Pair, error: BadInput) -> Skipped:
    """What the run's record says of an image that cannot be read."""
    return Skipped(row=pair.row, reason=f"image cannot be read: {error.problem}")


def no_image_left() -> BadInput:
    """The end of a search for one that can be read."""
    return BadInput("none of the images can be read", "see skipped.csv")


def collate(examples: Sequence[PairExample]) -> PairBatch:
    """Stack examples."""
    return PairBatch(
        torch.stack([example.image for example in examples]),
        torch.stack([example.text for example in examples]),
        torch.tensor([example.caption for example in examples]),
        tuple(skipped for example in examples for skipped in example.unreadable),
    )


def open_image(source: Path | TarMember) -> MedImage:
    """Read a file, or a member of a shard.

    Raises:
        BadInput: it cannot be read.
    """
    if isinstance(source, Path):
        return read_image(source)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "member").with_suffix(Path(source.name).suffix)
        copy.write_bytes(source.read())
        return read_image(copy)


def random_crop(pixels: FloatArray, smallest: float, generator: torch.Generator) -> FloatArray:
    """A part of an image, of random area, shape and place.

    Args:
        pixels: (height, width, 3).
        smallest: share of the area, above 0.

    Returns:
        A view (height', width', 3); the whole where no crop of a fitting shape was drawn.
    """
    height, width = pixels.shape[:2]
    for _ in range(TRIES):
        area, shape, down, right = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        target = height * width * (smallest + (1 - smallest) * area)
        ratio = math.exp(math.log(RATIO[0]) + shape * math.log(RATIO[1] / RATIO[0]))
        rows, columns = round(math.sqrt(target / ratio)), round(math.sqrt(target * ratio))
        if 2 <= rows <= height and 2 <= columns <= width:
            top, left = int(down * (height - rows + 1)), int(right * (width - columns + 1))
            return pixels[top : top + rows, left : left + columns]
    return pixels
