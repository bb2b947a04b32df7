"""What does every method of this package promise? An image and a text in, a `Segmentation` out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from medclipsam.types import Box, MedImage, Points, Segmentation


class Segmenter(Protocol):
    """A loaded method; models are held, images and texts seen lately are remembered."""

    def segment(
        self,
        image: MedImage,
        text: str,
        *,
        boxes: Sequence[Box] = (),
        points: Points | None = None,
        always: bool = False,
    ) -> Segmentation:
        """Segment what `text` names.

        Args:
            image: a 2-D image.
            text: the prompt; several wordings of one thing, separated by `|`, are averaged.
            boxes: the person's own, in native pixels, in place of those from the saliency map.
            points: the person's own, likewise.
            always: segment even where the method would answer "not found".

        Raises:
            BadInput: a box or point outside the image, or a text that cannot be used.
        """

    def prepare(self, images: Sequence[MedImage]) -> None:
        """Encode images that will be asked about next; it changes no answer on a CPU.

        There another thread may call it while `segment` answers about images that were prepared before.
        """

    def images_at_once(self, most: int) -> int:
        """How many images, from 1 to `most`, `prepare` should be given so that they take less time than alone.

        With 1 it need not be called.
        """

    def describe(self) -> dict[str, Any]:
        """Preset, weights with hashes, device and seed, for reports."""
