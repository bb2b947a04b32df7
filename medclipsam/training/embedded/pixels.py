"""The task by which the shared loop trains the pixel network: images drawn anew at each step, moved and shaded.

    files -> augment(seed, step, image) -> pixels -> U-Net x texts as the tower embeds them -> maps <- known answers

Nothing is encoded and nothing kept: an image is never seen twice in the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from medclipsam.backbones.compact import CompactTower, outlined, strokes_of
from medclipsam.backbones.compact_clip import KnownTexts
from medclipsam.backbones.pixel_network import PixelNetwork
from medclipsam.errors import BadInput
from medclipsam.runtime import generator_for
from medclipsam.training import distributed
from medclipsam.training.checkpoint import save_weights
from medclipsam.training.data.augment import PLAIN
from medclipsam.training.data.captions import Skipped
from medclipsam.training.data.feature_cache import digest_of_weights
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.data.sampling import Key, Keyed
from medclipsam.training.embedded.answers import answers, dense_loss
from medclipsam.training.embedded.calibration import Judged, best_shift, macro_dice
from medclipsam.training.embedded.corpus import UNKNOWN_FOLDER, Folder
from medclipsam.training.embedded.encodings import (
    Encodings,
    as_pixels,
    cell_coverage,
    coverage_of,
    levels_of,
    strength_of,
    varied,
)
from medclipsam.training.embedded.task import Lessons, ask, folder_weights
from medclipsam.training.journal import Observer
from medclipsam.training.recipes import EmbeddedRecipe
from medclipsam.weights.loading import load_state

PIXELS = "pixels.safetensors"
"""The best pixel network so far."""
BATCH = 16
NOTHING = torch.zeros(0)
"""In the place of evidence, where presence is not judged."""


class Viewed(NamedTuple):
    """Images of one step."""

    step: int
    rows: tuple[int, ...]
    pixels: Tensor
    """(B, 256, 256, 3) in 0..255."""
    masks: tuple[Tensor, ...]
    """(targets, 128, 128) coverage of each image, in 0..255."""


@dataclass(frozen=True)
class ViewedImages:
    """Views of images as the loop draws them."""

    root: Path
    images: Sequence[LabelledImage]
    folders: Mapping[str, Folder]
    seed: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> Viewed:
        """The view that a (step, row) has."""
        step, row = key
        image = self.images[row]
        draw = np.random.default_rng(generator_for(self.seed, f"view {step} {row}").initial_seed())
        pixels, masks = varied(self.root, image, strength_of(self.folders.get(image.folder, UNKNOWN_FOLDER)), draw)
        return Viewed(step, (row,), levels_of(pixels)[None], (cell_coverage(masks),))


def stacked(examples: Sequence[Viewed]) -> Viewed:
    """Stack images."""
    rows = tuple(row for example in examples for row in example.rows)
    masks = tuple(mask for each in examples for mask in each.masks)
    return Viewed(examples[0].step, rows, torch.cat([each.pixels for each in examples]), masks)


class Mapped(NamedTuple):
    """What a pixel network makes of a batch."""

    maps: Tensor
    """Logits (B, K, 64, 64)."""
    outline: Tensor
    """(B, 128, 128, C)."""
    sought: Tensor
    """(K, C): what each text looks for in it."""

    def drawn(self, image: int, text: int) -> Tensor:
        """(128, 128): logits of one image and text."""
        strokes = self.outline[image] @ self.sought[text]
        return outlined(self.maps[image, text][None, None], strokes[None, None])[0, 0]


class PixelPass(nn.Module):
    """The whole pass in one `forward`, so that gradients can be averaged over processes."""

    def __init__(self, network: PixelNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor, text: Tensor) -> Mapped:
        """Pixels (B, 256, 256, 3) in [0, 1] and texts (K, embedding)."""
        sketched = self.network.sketch(pixels)
        with torch.autocast(pixels.device.type, enabled=False):
            sought = self.network.sought(text)
            return Mapped(self.network.maps(sketched.cells, sought), sketched.outline.float(), sought.outline)


class PixelTask:
    """The task of `loop.fit`.

    Args:
        network: learns, its share 1.
        tower: frozen; texts are embedded by it.
        root: folder of the data.
        training: images that can be read.
        validation: encodings, of which the pixels alone are read, to choose the best weights by; where none has a
            target, the last weights are kept.
    """

    collate = staticmethod(stacked)
    score = "dice"

    def __init__(
        self,
        network: PixelNetwork,
        tower: CompactTower,
        lessons: Lessons,
        recipe: EmbeddedRecipe,
        *,
        root: Path,
        training: Sequence[LabelledImage],
        validation: Encodings,
    ) -> None:
        self.network = network
        self.model: nn.Module = PixelPass(network)
        self.data: Keyed = ViewedImages(root, training, lessons.corpus.folders, recipe.seed)
        self.weights: Sequence[float] | None = folder_weights(training, lessons.corpus)
        self._images, self._validation = training, validation
        self._texts, self._lessons, self._recipe = KnownTexts(tower), lessons, recipe
        parts = (
            *(digest_of_weights(part.state_dict().values()) for part in (network, tower)),
            *(each.image for each in training),
            validation.name,
            *(text.sentence for text in lessons.bank.texts),
        )
        self.fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def begin(self, folder: Path, observer: Observer | None) -> None:
        """Nothing to do."""

    def loss(self, model: nn.Module, batch: Viewed) -> tuple[Tensor, Mapping[str, float]]:
        """Loss of the whole batch over all processes."""
        device = next(self.model.parameters()).device
        images = [self._images[row] for row in batch.rows]
        drawn, sentences = ask(self._lessons, images, batch.step, self._recipe, device)
        texts = [self._lessons.bank.texts[index] for index in drawn]
        mapped = model(as_pixels(batch.pixels.to(device)), self._read(sentences.to(device)))
        truth = answers(images, batch.masks, texts, self._lessons.corpus).to(device).gathered()
        with torch.autocast(device.type, enabled=False):
            maps, outline = (distributed.gather_rows(part) for part in (mapped.maps, mapped.outline))
            return dense_loss(maps, strokes_of(truth.present, outline, mapped.sought), truth), {}

    def validate(self) -> Mapping[str, float]:
        """Dice of the maps, mean over folders and targets, at the best of one threshold for all."""
        with torch.autocast(next(self.model.parameters()).device.type, enabled=False):
            judged = list(self._judged())
        if not judged:
            return {}
        return {"dice": macro_dice(judged, best_shift(judged))}

    def export(self, folder: Path) -> None:
        """Write the network."""
        save_weights(folder / PIXELS, self.network.state_dict())

    def _judged(self) -> Iterator[Judged]:
        """The validation images' own targets, as far as they were taught and are there."""
        names, validation = self._lessons.names, self._validation
        text = self._texts.read(self._lessons.short.to(next(self.model.parameters()).device))
        for start in range(0, len(validation), BATCH):
            rows = range(start, min(start + BATCH, len(validation)))
            encoded = [validation.read(row) for row in rows]
            mapped = self.model(as_pixels(torch.stack([each.pixels for each in encoded]).to(text.device)), text)
            for place, row in enumerate(rows):
                image, masks = validation.images[row], encoded[place].masks
                for target in (name for name in image.targets if name in names):
                    truth = coverage_of(image, masks, frozenset({target})) >= 0.5
                    drawn = mapped.drawn(place, names.index(target)).cpu()
                    if truth.any():
                        yield Judged(f"{image.folder}: {target}", image.image, True, False, 0, NOTHING, drawn, truth)

    def _read(self, sentences: Tensor) -> Tensor:
        """See `KnownTexts.read`; in single precision."""
        with torch.autocast(sentences.device.type, enabled=False):
            return self._texts.read(sentences)


def best_network(run: Path, network: PixelNetwork) -> PixelNetwork:
    """The network with the best weights that a run of its task exported, frozen."""
    network.load_state_dict(load_state(run / PIXELS))
    return network.eval().requires_grad_(False)


def readable(
    root: Path, images: Sequence[LabelledImage], observer: Observer | None = None
) -> tuple[list[LabelledImage], list[Skipped]]:
    """Those whose files can be read, and why the others cannot."""
    kept, skipped = [], []
    for number, image in enumerate(images, start=1):
        try:
            varied(root, image, PLAIN, np.random.default_rng(0))
            kept.append(image)
        except BadInput as error:
            skipped.append(Skipped(row=image.image, reason=error.problem))
        if observer:
            observer({"kind": "reading", "step": number, "steps": len(images)})
    return kept, skipped
