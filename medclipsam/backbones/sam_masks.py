"""The contract of a Segment Anything model in two steps, and the masks that it gives; no torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from medclipsam.types import Box, FloatArray, MedImage, Points


@dataclass(frozen=True, eq=False, kw_only=True)
class SamMasks:
    """One mask for each prompt, over the native image."""

    logits: FloatArray
    """(n, height, width), unbounded; the object where positive."""
    scores: FloatArray
    """(n,): the model's own estimate of IoU."""

    @cached_property
    def probability(self) -> FloatArray:
        """(n, height, width) in [0, 1]."""
        return logistic(self.logits)


class Promptable(Protocol):
    """Segment Anything: `set_image` (slow, once for an image), `predict` (fast, once for a set of prompts)."""

    engine: str
    """What computes the image encoder, for reports: `torch`, or another engine with its version."""

    @property
    def device(self) -> Any:
        """Where it computes; `str` of it is `cpu`, `cuda:0`, `mps`."""

    @property
    def precision(self) -> str:
        """Number format of the image encoder."""

    def set_image(self, image: MedImage) -> Any:
        """Encode one image, or take it from the last images seen."""

    def set_images(self, images: Sequence[MedImage]) -> list[Any]:
        """Encode several images; equal images, and those seen lately, are encoded once."""

    def features(self, image: MedImage) -> FloatArray:
        """(1, channels, rows, columns): what the image encoder makes of an image, to be kept for `recall`."""

    def recall(self, image: MedImage, features: FloatArray) -> None:
        """Take what was computed of an image before, so that it is not encoded again."""

    def images_at_once(self, most: int) -> int:
        """How many images, from 1 to `most`, `set_images` should be given so that they take less time than alone."""

    def predict(
        self, embedding: Any, boxes: Sequence[Box] = (), points: Points | None = None, multimask: bool = False
    ) -> SamMasks:
        """Segment what boxes and points show on an image that was encoded."""


def logistic(logits: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)) of every element, in single precision."""
    with np.errstate(over="ignore"):  # far below zero the exponential is infinite, and the answer 0
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
