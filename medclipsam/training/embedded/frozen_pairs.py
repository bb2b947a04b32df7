"""What the frozen parts of the embedded model make of images and captions, asked once, before the first step.

image   --LiteMedSAM--> encoding --lowest part of the tower--> tokens     a file for each image
caption --MiniLM------> sentence vector                                   a file for all captions
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.backbones.sam import PromptableSegmenter
from medclipsam.backbones.sam_loading import load_sam
from medclipsam.errors import BadInput
from medclipsam.training import distributed
from medclipsam.training.data.captions import Pair, Skipped
from medclipsam.training.data.feature_cache import FeatureCache, digest_of_image, read_features, write_features
from medclipsam.training.data.pairs import PairExample, caption_number, no_image_left, open_image, unreadable_image
from medclipsam.training.data.sampling import Key
from medclipsam.training.data.tables import TarMember
from medclipsam.training.embedded.encodings import encoding_precision
from medclipsam.training.journal import Observer
from medclipsam.weights import find


@dataclass(frozen=True, eq=False, kw_only=True)
class Lowest:
    """The part of the tower, from its entrance up, that does not change."""

    run: Callable[[Tensor], Tensor]
    """(1, 256, 64, 64) encoding of LiteMedSAM -> (1, ...), what the rest of the tower learns from."""
    digest: str
    """Says all that `run` depends on."""


class FrozenPairs:
    """Pairs as what the tower learns from; see `pairs.PairSource`.

    Args:
        lowest: what is computed once, after the encoder.
    """

    def __init__(self, pairs: Sequence[Pair], lowest: Lowest) -> None:
        self._pairs, self._lowest = pairs, lowest
        self._paths: list[Path | None] = []
        self._sentences = torch.zeros(0)

    def prepare(self, folder: Path, device: torch.device, observer: Observer | None = None) -> Sequence[Skipped]:
        """Encode what is missing; processes share the images. See `pairs.PairSource`."""
        images = FrozenImages(folder, device, self._lowest)
        mine = range(distributed.rank(), len(self._pairs), distributed.world_size())
        unreadable = []
        for done, place in enumerate(mine, start=1):
            try:
                images.encode(self._pairs[place].image)
            except BadInput as error:
                unreadable.append(unreadable_image(self._pairs[place], error))
            if observer:
                observer({"kind": "encoding", "step": done, "steps": len(mine)})
        distributed.barrier()
        self._paths = [images.find(pair.image) for pair in self._pairs]
        self._sentences = sentence_vectors([pair.caption for pair in self._pairs], folder, device)
        return unreadable

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, key: Key) -> PairExample:
        """The pair of a key, or the next whose image could be read.

        Raises:
            BadInput: no image could be read, or what was kept of one is damaged.
        """
        _, first = key
        for place in (*range(first, len(self)), *range(first)):
            if path := self._paths[place]:
                number = caption_number(self._pairs[place].caption)
                return PairExample(_read(path), self._sentences[place], number)
        raise no_image_left()


class FrozenImages:
    """LiteMedSAM and the tower's lowest part; LiteMedSAM is loaded for the first image that is not kept yet."""

    def __init__(self, folder: Path, device: torch.device, lowest: Lowest) -> None:
        self._cache, self._device, self._lowest = FeatureCache(folder), device, lowest
        self._parts = f"{find('lite-medsam').sha256} {encoding_precision(device)}", lowest.digest

    def encode(self, image: Path | TarMember) -> None:
        """Compute what the tower learns from, if it is not there.

        Raises:
            BadInput: the image cannot be read.
            CannotWrite: the disk is full or the folder is not writable.
        """
        path = self._path(image)
        if not path.is_file():
            write_features(path, values=self._compute(image).half())

    def find(self, image: Path | TarMember) -> Path | None:
        """Where it lies; None where it could not be computed."""
        try:
            path = self._path(image)
        except BadInput:
            return None
        return path if path.is_file() else None

    def _path(self, image: Path | TarMember) -> Path:
        return self._cache.path(*self._parts, digest_of_image(image))

    @torch.no_grad()
    def _compute(self, image: Path | TarMember) -> Tensor:
        return self._lowest.run(self._sam.encode(self._sam.frame(open_image(image))))[0]

    @cached_property
    def _sam(self) -> PromptableSegmenter:
        return load_sam("lite-medsam", device=self._device, dtype=encoding_precision(self._device))


def sentence_vectors(captions: Sequence[str], folder: Path, device: torch.device) -> Tensor:
    """(n, 384) on the CPU, kept in the folder; equal captions are encoded once, those of like length together."""
    found = find("minilm")
    path = FeatureCache(folder).path(found.sha256, *captions)
    if not path.is_file():
        different = sorted(set(captions), key=lambda caption: (len(caption), caption))
        row = {caption: number for number, caption in enumerate(different)}
        vectors = SentenceEncoder(found.folder, device).encode(different)
        write_features(path, values=vectors[[row[caption] for caption in captions]].half())
    return _read(path)


def _read(path: Path) -> Tensor:
    """What was kept in half precision, in single precision."""
    return read_features(path)["values"].float()
