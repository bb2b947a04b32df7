"""How does a refined run stand in for any other method? It keeps the contract; the one text that it knows is its own.

RefinedSegmenter(load_ensemble(RUN)) -> scan.segment_scan, batch.label_folder, evaluation, volumes
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medclipsam.errors import BadInput
from medclipsam.refine.ensemble import Ensemble
from medclipsam.refine.uncertainty import Maps
from medclipsam.types import Box, MedImage, Points, Segmentation


class RefinedSegmenter:
    """A `medclipsam.methods.contract.Segmenter`.

    Saliency is the mean probability and presence its largest value: a refined network looks at the image alone.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self._ensemble = ensemble
        self._known: dict[str, Maps] = {}

    def segment(
        self,
        image: MedImage,
        text: str,
        *,
        boxes: Sequence[Box] = (),
        points: Points | None = None,
        always: bool = False,
    ) -> Segmentation:
        """See the contract; `always` changes nothing, for the mask is what lies above the threshold.

        Raises:
            BadInput: a text that the run did not learn, or a box or point, which it cannot use.
        """
        file = self._ensemble.file
        if text != file.prompt:
            raise BadInput(f"this run learned {file.prompt!r}, not {text[:60]!r}", "give that prompt, or another run")
        if boxes or points is not None:
            raise BadInput("a refined network has no use for boxes and points", "leave them out, or choose a preset")
        if image.digest not in self._known:
            self.prepare([image])
        maps = self._known[image.digest]
        mask = maps.probability > file.threshold
        return Segmentation(
            prompt=text,
            mask=mask,
            probability=maps.probability,
            saliency=maps.probability,
            found=bool(mask.any()),
            presence=float(maps.probability.max()),
        )

    def prepare(self, images: Sequence[MedImage]) -> None:
        """Ask every network about these images together, so that each file of weights is read once."""
        answers = self._ensemble.maps_of(images)
        self._known = {image.digest: maps for image, maps in zip(images, answers, strict=True) if maps is not None}

    def images_at_once(self, most: int) -> int:
        """See the contract: on a CPU the networks take longer than their files."""
        return 1 if self._ensemble.device == "cpu" else most

    def describe(self) -> dict[str, Any]:
        """See the contract."""
        file = self._ensemble.file
        preset = {"name": f"refined-{file.backend}", "prompt": file.prompt, "threshold": file.threshold}
        return {"method": "refined", "preset": preset, "weights": dict(file.files), "device": self._ensemble.device}
