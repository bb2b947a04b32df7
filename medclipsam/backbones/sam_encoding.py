"""The slow step of Segment Anything: images become embeddings, each once, in this process and, on a shelf, for others.

    MedImage --frame--> square --encode--> ImageEmbedding

What was seen lately, or lies on the shelf, is taken from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from medclipsam.backbones.geometry import Framing, Placement
from medclipsam.backbones.sam_networks import SamNetwork
from medclipsam.memory.latest import Latest
from medclipsam.memory.shelf import Shelf
from medclipsam.runtime import precision_of, side_by_side
from medclipsam.types import FloatArray, MedImage

CACHED_IMAGES = 16
IMAGES_AT_ONCE = 8
SIDE_BY_SIDE = 4
"""Images in work at the same time on a CPU; with more of them memory grows, and other parts have the last word."""
SMALL_SIDE = 512
"""Edge of a square, in pixels, of which several are worked on at the same time."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageEmbedding:
    """What the image encoder saw; valid for the segmenter that made it."""

    features: Tensor
    """(1, 256, grid, grid), single precision, on the model's device."""
    placement: Placement
    digest: str
    """Identity of the image's content."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the native image."""
        return self.placement.size


class SamEncoder:
    """The image encoder of a Segment Anything model, computed by torch.

    Args:
        network: the three parts with their weights.
        framing: how images enter its square.
        name: key of the weights table, for reports.
        sha256: hash of the weights, for reports.
        device: where it runs.
        dtype: precision of the image encoder; prompts and masks are always computed in single precision.
        cache: folder where encodings are kept for other processes.
    """

    def __init__(
        self,
        network: SamNetwork,
        framing: Framing,
        *,
        name: str,
        sha256: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        cache: Path | None = None,
    ) -> None:
        self.name = name
        self.sha256 = sha256
        self.framing = framing
        self.device = torch.device(device)
        self.dtype = dtype
        self.network = network.eval().requires_grad_(False).to(self.device)
        self._embeddings: Latest[ImageEmbedding] = Latest()
        self._blank: Tensor | None = None
        self._shelf = Shelf(cache, of=self._decided_by()) if cache else None

    @property
    def precision(self) -> str:
        """Number format of the image encoder."""
        return precision_of(self.dtype)

    def frame(self, image: MedImage) -> Tensor:
        """(1, 3, side, side): the image as the encoder takes it, on the CPU."""
        return self.framing.fill(image.pixels)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """(B, 3, side, side) frames -> (B, 256, grid, grid), single precision, without gradients."""
        is_reduced = self.dtype != torch.float32
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=is_reduced):
            return self.network.image_encoder(frames.to(self.device)).float()

    def set_image(self, image: MedImage) -> ImageEmbedding:
        """Encode one image, or take it from the last images seen."""
        return self.set_images([image])[0]

    def set_images(self, images: Sequence[MedImage]) -> list[ImageEmbedding]:
        """Encode several images; equal images, and those seen lately, are encoded once.

        On the CPU each is encoded by itself, which keeps results bit-equal whatever the company, and several side by
        side. Threads may call this at the same time.
        """
        wanted = {image.digest: image for image in images}
        ready = self._embeddings.of(wanted)
        ready |= self._from_shelf([image for digest, image in wanted.items() if digest not in ready])
        new = [image for digest, image in wanted.items() if digest not in ready]
        encode = self._encode_each if self.device.type == "cpu" else self._encode_together
        for embedding in encode(new):
            ready[embedding.digest] = embedding
            if self._shelf:
                self._shelf.put(embedding.digest, {"features": embedding.features.cpu().numpy()})
        self._embeddings.keep({digest: ready[digest] for digest in wanted}, CACHED_IMAGES)
        return [ready[image.digest] for image in images]

    def features(self, image: MedImage) -> FloatArray:
        """(1, 256, grid, grid): what the image encoder makes of an image, to be kept for `recall`."""
        return self.set_image(image).features.cpu().numpy()

    def recall(self, image: MedImage, features: FloatArray) -> None:
        """Take the encoding of an image that `set_image` gave before, (1, 256, grid, grid)."""
        embedding = self._embedding(image, torch.from_numpy(features).to(self.device))
        self._embeddings.keep({image.digest: embedding}, CACHED_IMAGES)

    def images_at_once(self, most: int) -> int:
        """How many images, from 1 to `most`, `set_images` should be given so that they take less time than alone.

        On a CPU a small square's encoder leaves threads waiting for each other; a large one's takes much memory.
        """
        if self.device.type != "cpu":
            return most
        return min(most, torch.get_num_threads(), SIDE_BY_SIDE) if self.framing.side <= SMALL_SIDE else 1

    def _decided_by(self) -> dict[str, str]:
        """What decides the features of an image beside its pixels."""
        return {
            "model": self.sha256,
            "engine": f"torch {torch.__version__}",
            "device": self.device.type,
            "precision": self.precision,
        }

    def _from_shelf(self, images: Sequence[MedImage]) -> dict[str, ImageEmbedding]:
        """The encodings of those images that another process encoded."""
        kept = {image: self._shelf.get(image.digest) for image in images} if self._shelf else {}
        return {
            image.digest: self._embedding(image, torch.from_numpy(arrays["features"]).to(self.device))
            for image, arrays in kept.items()
            if arrays
        }

    def _encode_each(self, images: Sequence[MedImage]) -> list[ImageEmbedding]:
        """Every image in a pass of its own, as many at the same time as `images_at_once` says."""
        return side_by_side(self._encode_alone, images, self.images_at_once(len(images)))

    def _encode_together(self, images: Sequence[MedImage]) -> Iterator[ImageEmbedding]:
        for start in range(0, len(images), IMAGES_AT_ONCE):
            some = images[start : start + IMAGES_AT_ONCE]
            features = self.encode(torch.cat([self.frame(image) for image in some]))
            for image, row in zip(some, features.split(1), strict=True):
                yield self._embedding(image, row)

    def _encode_alone(self, image: MedImage) -> ImageEmbedding:
        """All squares without contrast (slices of air) are one, and encoded once."""
        square = self.frame(image)
        if square.any():
            return self._embedding(image, self.encode(square))
        if self._blank is None:
            self._blank = self.encode(square)
        return self._embedding(image, self._blank)

    def _embedding(self, image: MedImage, features: Tensor) -> ImageEmbedding:
        return ImageEmbedding(features=features, placement=self.framing.place(image.size), digest=image.digest)
