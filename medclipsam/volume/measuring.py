"""Measures the masks of a stack while its slices come: volume, parts in 3-D, diameters, centroid, values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from medclipsam.metrics.measure import ImageMeasures
from medclipsam.metrics.measure_stack import StackMeasures, measure_stack
from medclipsam.report import Report, image_row, measures_of, stack_row
from medclipsam.types import MedImage, Segmentation
from medclipsam.volume.parts import Parts


@dataclass
class _OfPrompt:
    slices: dict[str, ImageMeasures] = field(default_factory=dict)
    parts: Parts = field(default_factory=Parts)
    unit: str | None = None


class Measuring:
    """Gathers what is measured on each slice; a few numbers for each."""

    def __init__(self) -> None:
        self._prompts: dict[str, _OfPrompt] = {}

    def add(self, image: MedImage, result: Segmentation) -> ImageMeasures:
        """Measure the mask of the next slice."""
        found = self._prompts.setdefault(result.prompt, _OfPrompt())
        found.slices[image.name] = measures = measures_of(image, result)
        found.parts.add(result.mask)
        found.unit = image.values_unit
        return measures

    def unit(self, prompt: str) -> str | None:
        """Unit of the values."""
        return self._prompts[prompt].unit

    def on_images(self, prompt: str) -> dict[str, ImageMeasures]:
        """What was measured on each image alone, by its name."""
        return self._prompts[prompt].slices

    def on_stack(self, prompt: str, places_mm: Sequence[float] | None) -> tuple[StackMeasures, int]:
        """(what was measured over all slices, the number of parts in 3-D); see `rows`."""
        found = self._prompts[prompt]
        return measure_stack(found.slices, places_mm), found.parts.count

    def image_rows(self) -> list[Report]:
        """What was measured on each image alone, for each prompt."""
        return [
            {"prompt": prompt, "image": name, **image_row(measures, found.unit)}
            for prompt, found in self._prompts.items()
            for name, measures in found.slices.items()
        ]

    def rows(self, places_mm: Sequence[float] | None) -> list[Report]:
        """What was measured over all slices, for each prompt.

        Args:
            places_mm: where they lie along the stack; None where it is not known.
        """
        return [
            {"prompt": prompt, **stack_row(measures, self.unit(prompt), parts)}
            for prompt in self._prompts
            for measures, parts in [self.on_stack(prompt, places_mm)]
        ]
