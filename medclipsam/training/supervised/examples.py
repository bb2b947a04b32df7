"""Training and validation examples of a network: an image and its rows, varied anew, or from kept frozen features.

What is random depends on the seed, the epoch and the image's name alone.

    without frozen parts   (epoch, place) -> variation of the image and its masks
    with frozen parts      (epoch, place) -> one of `copies` variations, encoded once:  FOLDER/3f/3f9a...safetensors
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medclipsam.io.atomic import file_digest
from medclipsam.networks.contract import Batch, Features, SupervisedNetwork
from medclipsam.runtime import generator_for
from medclipsam.training.data.augment import Strength
from medclipsam.training.data.feature_cache import FeatureCache, read_features, write_features
from medclipsam.training.data.sampling import Key
from medclipsam.training.journal import Observer
from medclipsam.training.supervised.rows import LabelledRow
from medclipsam.training.supervised.squares import Squares, plain, varied

PLAIN_COPY = 0
MASKS = "masks"
"""Name of the masks among the tensors of a kept copy; no feature may have it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Example:
    """One image with some of its rows."""

    rows: tuple[LabelledRow, ...]
    pixels: Tensor
    """(3, side, side); without rows where features hold all."""
    features: Features
    masks: Tensor
    """(rows, side, side) uint8."""


def collate(examples: Sequence[Example]) -> Batch:
    """Stack examples; each row remembers its image."""
    rows = [row for example in examples for row in example.rows]
    masks = torch.cat([example.masks for example in examples]).float()
    return Batch(
        pixels=torch.stack([example.pixels for example in examples]),
        features={name: torch.stack([each.features[name] for each in examples]) for name in examples[0].features},
        texts=tuple(row.text for row in rows),
        image_of=torch.repeat_interleave(torch.tensor([len(example.rows) for example in examples])),
        targets=tuple(row.target for row in rows),
        masks=masks,
        present=masks.flatten(1).any(dim=1),
    )


def grouped(rows: Sequence[LabelledRow], network: SupervisedNetwork) -> list[tuple[LabelledRow, ...]]:
    """The rows of each example: all of an image where the network wants them so, else each alone."""
    if not network.wants_whole_images:
        return [(row,) for row in rows]
    images: dict[Path, list[LabelledRow]] = {}
    for row in rows:
        images.setdefault(row.image, []).append(row)
    return [tuple(each) for each in images.values()]


class Examples:
    """Examples as a map-style dataset.

    Args:
        groups: the rows of each.
        squares: reads them.
        seed: of the variations.
        strength: None shows each image as it is.
        kept: where features lie; None where the network keeps none.
    """

    def __init__(
        self,
        groups: Sequence[tuple[LabelledRow, ...]],
        squares: Squares,
        *,
        seed: int = 0,
        strength: Strength | None = None,
        kept: KeptFeatures | None = None,
    ) -> None:
        self._groups, self._squares = groups, squares
        self._seed, self._strength, self._kept = seed, strength, kept

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, key: Key) -> Example:
        """The example of an (epoch, place)."""
        epoch, place = key
        rows = self._groups[place]
        drawn = generator_for(self._seed, f"rows {epoch} {rows[0].image.name} {rows[0].target}").initial_seed()
        generator = np.random.default_rng(drawn)
        if self._strength is not None:
            rows = tuple(replace(row, text=row.short) if _prefers_short(row, generator) else row for row in rows)
        if self._kept is not None:
            copy = int(generator.integers(1, self._kept.copies + 1)) if self._strength else PLAIN_COPY
            return self._kept.example(rows, copy)
        if self._strength is None:
            return _example(rows, *shown(rows, self._squares))
        return _example(rows, *shown(rows, self._squares, self._strength, generator))


class KeptFeatures:
    """Frozen features of every copy of every image, in a folder.

    Args:
        folder: may be shared by runs: names of files say all that their content depends on.
        squares: reads images.
        network: encodes them.
        strength: of the variations.
        copies: variations of each image beside the plain one.
    """

    def __init__(
        self,
        folder: Path,
        squares: Squares,
        network: SupervisedNetwork,
        *,
        strength: Strength,
        copies: int,
    ) -> None:
        self._cache, self._squares, self._network = FeatureCache(folder), squares, network
        self._strength, self.copies = strength, copies
        self._digests: dict[Path, str] = {}

    def example(self, rows: tuple[LabelledRow, ...], copy: int) -> Example:
        """One copy from its file.

        Raises:
            BadInput: the file is damaged.
        """
        features = dict(read_features(self._path(rows, copy)))
        masks = features.pop(MASKS)
        side = masks.shape[-1]
        return Example(rows=rows, pixels=torch.zeros(0, side, side), features=features, masks=masks)

    def fill(
        self, train: Sequence[tuple[LabelledRow, ...]], val: Sequence[tuple[LabelledRow, ...]], tell: Observer | None
    ) -> None:
        """Encode every copy that is not there.

        Raises:
            CannotWrite: the disk is full or the folder is not writable.
        """
        wanted = [(rows, copy) for copy in range(1, self.copies + 1) for rows in train]
        missing = [each for each in [*((rows, PLAIN_COPY) for rows in val), *wanted] if not self._path(*each).is_file()]
        for done, (rows, copy) in enumerate(missing):
            if tell is not None:
                tell({"kind": "encoding", "step": done, "steps": len(missing)})
            self._write(rows, copy)

    @torch.no_grad()
    def _write(self, rows: tuple[LabelledRow, ...], copy: int) -> None:
        if copy == PLAIN_COPY:
            pixels, masks = shown(rows, self._squares)
        else:
            seed = generator_for(copy, f"copy {self._digest(rows[0].image)}").initial_seed()
            pixels, masks = shown(rows, self._squares, self._strength, np.random.default_rng(seed))
        device = next(self._network.parameters()).device
        features = self._network.encode(pixels[None].to(device))
        write_features(self._path(rows, copy), **{MASKS: masks}, **{name: each[0] for name, each in features.items()})

    def _path(self, rows: tuple[LabelledRow, ...], copy: int) -> Path:
        files = [self._digest(rows[0].image), *(self._digest(row.mask) for row in rows)]
        varied_by = "plain" if copy == PLAIN_COPY else repr(self._strength)
        return self._cache.path(self._network.encoding, self._squares.geometry, *files, str(copy), varied_by)

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = file_digest(path)
        return self._digests[path]


def shown(
    rows: Sequence[LabelledRow],
    squares: Squares,
    strength: Strength | None = None,
    generator: np.random.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """(3, side, side) in [0, 1] and (rows, side, side) uint8: as it is, or one variation."""
    read = [squares.read(row) for row in rows]
    square, frame = read[0].square, read[0].frame
    masks = np.stack([each.mask for each in read])
    if strength is None or generator is None:
        return plain(square, frame), torch.from_numpy(masks)
    return varied(square, masks, frame, strength, generator)


def _prefers_short(row: LabelledRow, generator: np.random.Generator) -> bool:
    """Every second time, where the row has a short text as well."""
    return bool(row.short) and generator.random() < 0.5


def _example(rows: tuple[LabelledRow, ...], pixels: Tensor, masks: Tensor) -> Example:
    nothing: Mapping[str, Tensor] = {}
    return Example(rows=rows, pixels=pixels, features=nothing, masks=masks)
