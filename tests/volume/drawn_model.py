"""A toy of the two-step method: evidence and masks by brightness, at one cell a pixel, through the real pipeline."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medclipsam.backbones.letterbox import Letterbox
from medclipsam.backbones.sam_masks import SamMasks, logistic
from medclipsam.config import zeroshot_preset
from medclipsam.memory.latest import Latest
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.prompting.evidence import Cells, Evidence
from medclipsam.types import BoolArray, Box, FloatArray, MedImage, Points

SIDE = 64
REMEMBERED = 2
STEEP = 12.0
"""Logits of a cell for each step of grey above one half."""


class BrightEvidence:
    """What is brighter than half shows the text; nothing of it is an answer too. The red channel alone is looked at."""

    def look(self, image: MedImage) -> FloatArray:
        return STEEP * (image.pixels[..., 0] - 0.5)

    def weigh(self, image: MedImage, view: FloatArray, text: str, seed: int) -> Evidence:
        return self.drawn(image, self.cells(view, text))

    def cells(self, view: FloatArray, text: str) -> Cells:
        return Cells(logits=view.astype(np.float32), presence=1.0 if (view > 0).any() else 0.0)

    def drawn(self, image: MedImage, cells: Cells) -> Evidence:
        saliency = logistic(Letterbox(size=image.size, side=SIDE).cells(cells.logits))
        return Evidence(saliency=saliency, presence=cells.presence)


class BoxedSam:
    """The green channel's bright pixels inside the box, as a Segment Anything that keeps to its box."""

    device, engine, precision = "cpu", "drawn", "fp32"

    def __init__(self) -> None:
        self.encoded: list[str] = []
        self.asked: list[Box] = []
        self.most_alive = self._alive = 0
        self._latest: Latest[FloatArray] = Latest()

    def set_image(self, image: MedImage) -> FloatArray:
        known = self._latest.of([image.digest])
        if not known:
            self.encoded.append(image.name)
            self._keep(image, np.array(image.pixels[None, ..., 1]))
        return self._latest.of([image.digest])[image.digest]

    def set_images(self, images: Sequence[MedImage]) -> list[FloatArray]:
        return [self.set_image(image) for image in images]

    def features(self, image: MedImage) -> FloatArray:
        return self.set_image(image)

    def recall(self, image: MedImage, features: FloatArray) -> None:
        self._keep(image, features)

    def images_at_once(self, most: int) -> int:
        return 1

    def predict(
        self, embedding: FloatArray, boxes: Sequence[Box] = (), points: Points | None = None, multimask: bool = False
    ) -> SamMasks:
        (box,) = boxes
        self.asked.append(box)
        inside = np.zeros(embedding.shape[1:], bool)
        inside[int(box.y0) : int(np.ceil(box.y1)) + 1, int(box.x0) : int(np.ceil(box.x1)) + 1] = True
        logits = np.where((embedding[0] > 0.5) & inside, 9.0, -9.0).astype(np.float32)
        return SamMasks(logits=logits[None], scores=np.ones(1, np.float32))

    def _keep(self, image: MedImage, features: FloatArray) -> None:
        self._alive += 1
        weakref.finalize(features, self._forgotten)
        self._latest.keep({image.digest: features}, REMEMBERED)
        self.most_alive = max(self.most_alive, self._alive)

    def _forgotten(self) -> None:
        self._alive -= 1


def drawn_segmenter(grow: float = 0.0) -> tuple[ZeroShotSegmenter, BoxedSam]:
    """The embedded preset over the toys, whose brightness says what they are."""
    preset = zeroshot_preset("embedded")
    sam = BoxedSam()
    config = replace(preset, rights_greys=False, prompting=replace(preset.prompting, grow=grow))
    return ZeroShotSegmenter(config, BrightEvidence(), sam, weights={}), sam


def slice_of(number: int, seen: BoolArray, there: BoolArray | None = None) -> MedImage:
    """A slice whose evidence shows `seen` and whose object is `there`, (64, 64); the number makes it unique."""
    object_there = seen if there is None else there
    pixels = np.stack([np.where(seen, 0.9, 0.1), np.where(object_there, 0.9, 0.1), np.full(seen.shape, number / 1000)])
    return MedImage(pixels=pixels.transpose(1, 2, 0).astype(np.float32), name=f"s{number}")
