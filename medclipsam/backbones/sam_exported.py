"""LiteMedSAM as exported graphs: the two steps of `Promptable` without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medclipsam.backbones.letterbox import Letterbox
from medclipsam.backbones.sam_masks import SamMasks
from medclipsam.engines import Graph
from medclipsam.errors import BadInput
from medclipsam.memory.latest import Latest
from medclipsam.memory.shelf import Shelf, on_shelf
from medclipsam.types import Box, FloatArray, MedImage, Points

SIDE = 256
CACHED_IMAGES = 16


@dataclass(frozen=True, eq=False, kw_only=True)
class Encoding:
    """What the image encoder saw."""

    features: FloatArray
    """(1, 256, 64, 64)."""
    letterbox: Letterbox
    digest: str
    """Identity of the image's content."""


class ExportedSam:
    """LiteMedSAM, computed by an engine; see `Promptable`.

    Args:
        encoder, decoder: give the graphs when they are needed.
        name: key of the weights table, for reports.
        sha256: hash of the weights.
        engine: engine and version, for reports.
        precision: of the encoder.
        shelf: where encodings are kept for other processes.
    """

    device = "cpu"

    def __init__(
        self,
        encoder: Callable[[], Graph],
        decoder: Callable[[], Graph],
        *,
        name: str,
        sha256: str,
        engine: str,
        precision: str,
        shelf: Shelf | None = None,
    ) -> None:
        self.name, self.sha256, self.engine = name, sha256, engine
        self._encoder, self._decoder = encoder, decoder
        self._precision, self._shelf = precision, shelf
        self._encodings: Latest[Encoding] = Latest()
        self._blank: FloatArray | None = None

    @property
    def precision(self) -> str:
        """Number format of the image encoder."""
        return self._precision

    def set_image(self, image: MedImage) -> Encoding:
        """See `Promptable.set_image`."""
        return self.set_images([image])[0]

    def set_images(self, images: Sequence[MedImage]) -> list[Encoding]:
        """See `Promptable.set_images`; each is encoded by itself, so that its company changes nothing."""
        wanted = {image.digest: image for image in images}
        ready = self._encodings.of(wanted)
        for digest, image in wanted.items():
            if digest not in ready:
                ready[digest] = self._encode(image)
        self._encodings.keep({digest: ready[digest] for digest in wanted}, CACHED_IMAGES)
        return [ready[image.digest] for image in images]

    def features(self, image: MedImage) -> FloatArray:
        """See `Promptable.features`."""
        return self.set_image(image).features

    def recall(self, image: MedImage, features: FloatArray) -> None:
        """See `Promptable.recall`."""
        letterbox = Letterbox(size=image.size, side=SIDE)
        encoding = Encoding(features=features, letterbox=letterbox, digest=image.digest)
        self._encodings.keep({image.digest: encoding}, CACHED_IMAGES)

    def images_at_once(self, most: int) -> int:
        """Two, so that one is encoded, by all threads, while another is answered about."""
        return min(most, 2)

    def predict(
        self, embedding: Encoding, boxes: Sequence[Box] = (), points: Points | None = None, multimask: bool = False
    ) -> SamMasks:
        """See `Promptable.predict`; boxes alone, a mask for each.

        Raises:
            BadInput: no box, points, or three proposals for each box, which this export has not.
        """
        if not boxes or points is not None or multimask:
            raise BadInput("the exported LiteMedSAM takes boxes alone", "use --encoder-engine torch")
        corners = embedding.letterbox.edges(boxes)
        answers = [self._decoder()(embedding.features, corner[None]) for corner in corners]
        logits = np.concatenate([logits.reshape(1, *logits.shape[-2:]) for logits, _ in answers])
        scores = np.array([float(score.reshape(-1)[0]) for _, score in answers], np.float32)
        return SamMasks(logits=embedding.letterbox.masks(logits), scores=scores)

    def _encode(self, image: MedImage) -> Encoding:
        letterbox = Letterbox(size=image.size, side=SIDE)
        (features,) = on_shelf(self._shelf, image.digest, ["features"], lambda: [self._features(letterbox, image)])
        return Encoding(features=features, letterbox=letterbox, digest=image.digest)

    def _features(self, letterbox: Letterbox, image: MedImage) -> FloatArray:
        """What the encoder makes of an image; all those without contrast (slices of air) are one, and encoded once."""
        square = letterbox.fill(image.pixels)
        if square.any():
            return self._encoder()(square)[0]
        if self._blank is None:
            self._blank = self._encoder()(square)[0]
        return self._blank
