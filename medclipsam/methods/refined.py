"""A network trained on pseudo-labels (`medclipsam refine`) as a method: it knows one text, its own.

The mask is what lies above a threshold of the kept networks' mean probability; their disagreement is the uncertainty.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from medclipsam.config import Loading, Refined
from medclipsam.errors import BadInput
from medclipsam.methods.contract import MethodInfo, check_hints
from medclipsam.methods.ensemble import Ensemble, load_ensemble
from medclipsam.methods.uncertainty import Maps
from medclipsam.types import Hints, MedImage, Segmentation, Uncertainty


def load_refined(config: Refined, how: Loading) -> RefinedSegmenter:
    """Load the kept networks of a finished run.

    Raises:
        BadInput: a Segment Anything model, which a refined run has no use for.
        BadInput, WrongHash, MissingExtra: see `medclipsam.methods.ensemble.load_ensemble`.
    """
    if how.sam is not None or how.sam_weights is not None:
        raise BadInput("a refined run has no Segment Anything model", "leave it out, or choose a preset")
    return RefinedSegmenter(load_ensemble(config.run, how.device), config.threshold)


class RefinedSegmenter:
    """A `medclipsam.methods.contract.Segmenter` that looks at the image alone.

    Args:
        ensemble: the kept networks.
        threshold: probability above which a pixel is inside; None: the run's.
    """

    def __init__(self, ensemble: Ensemble, threshold: float | None = None) -> None:
        self._ensemble = ensemble
        self._threshold = ensemble.file.threshold if threshold is None else threshold
        self._known: dict[str, Maps] = {}

    def segment(self, image: MedImage, text: str, hints: Hints | None = None, *, always: bool = False) -> Segmentation:
        """See the contract; `always` changes nothing, for the mask is what lies above the threshold.

        Raises:
            BadInput: a text that the run did not learn, or hints, which it cannot use.
        """
        prompt = self._ensemble.file.prompt
        if text != prompt:
            raise BadInput(f"this run learned {prompt!r}, not {text[:60]!r}", "give that prompt, or another run")
        check_hints(hints, self.info)
        if image.digest not in self._known:
            self.prepare([image])
        maps = self._known[image.digest]
        mask = maps.probability > self._threshold
        return Segmentation(
            prompt=text,
            mask=mask,
            probability=maps.probability,
            found=bool(mask.any()),
            reason=None if mask.any() else "no_region",
            uncertainty=Uncertainty(entropy=maps.entropy, information=maps.information),
        )

    def prepare(self, images: Sequence[MedImage]) -> None:
        """Ask every network about these images together, so that each file of weights is read once."""
        answers = self._ensemble.maps_of(images)
        self._known |= {image.digest: maps for image, maps in zip(images, answers, strict=True) if maps is not None}
        for digest in list(self._known)[: -2 * max(1, len(images))]:
            del self._known[digest]  # one batch is asked about while the next is prepared

    def images_at_once(self, most: int) -> int:
        """See the contract: with many networks reading their files is worth sharing, on every device."""
        return most

    @cached_property
    def info(self) -> MethodInfo:
        """See the contract."""
        file = self._ensemble.file
        preset = {"name": f"refined-{file.backend}", "prompt": file.prompt, "threshold": self._threshold}
        return MethodInfo(
            method=Refined.method,
            preset=preset,
            weights=file.files,
            device=self._ensemble.device,
            takes_hints=False,
        )
