"""The contract of every method: an image and a text in, a `Segmentation` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from medclipsam.errors import BadInput
from medclipsam.prompting.evidence import Cells
from medclipsam.types import FloatArray, Hints, MedImage, NothingFound, Segmentation


@dataclass(frozen=True, kw_only=True)
class MethodInfo:
    """What a loaded method says of itself, for reports and for those who ask it."""

    method: str
    """Its name in `medclipsam.methods.METHODS`."""
    preset: Mapping[str, Any]
    """Every setting as plain values, `name` among them."""
    weights: Mapping[str, str]
    """SHA-256 of each file of weights that has a say, by its name."""
    device: str
    """Where it computes: `cpu`, `cuda:0`, `mps`."""
    engine: str | None = None
    """What computes its image encoder, where there is a choice: `torch`, or another engine with its version."""
    precision: str | None = None
    """Number format of its image encoder, where there is a choice."""
    takes_hints: bool
    """Whether `segment` can use boxes and points."""
    takes_points: bool = True
    """Whether it can use points, of a method that takes hints: some Segment Anything models know boxes alone."""
    weighs_first: bool = False
    """Whether it is a `StackSegmenter`: it can weigh the evidence of all slices before it draws on one."""

    @property
    def name(self) -> str:
        """What a person calls it: the preset's name."""
        return str(self.preset["name"])

    @property
    def computes_on_cpu(self) -> bool:
        """Whether the processor does all of its work."""
        return self.device == "cpu"

    @property
    def uses_torch(self) -> bool:
        """Whether torch computes it."""
        return self.engine in (None, "torch")

    def as_dict(self) -> dict[str, Any]:
        """For a report: method, preset, weights, device and, where there is a choice, engine and precision."""
        told = {
            "method": self.method,
            "preset": dict(self.preset),
            "weights": dict(self.weights),
            "device": self.device,
            "engine": self.engine,
            "precision": self.precision,
        }
        return {name: value for name, value in told.items() if value is not None}


class Segmenter(Protocol):
    """A loaded method; models are held, images and texts seen lately are remembered."""

    @property
    def info(self) -> MethodInfo:
        """What the method is, for reports."""

    def segment(self, image: MedImage, text: str, hints: Hints | None = None, *, always: bool = False) -> Segmentation:
        """Segment what `text` names.

        Args:
            image: a 2-D image.
            text: the prompt; several wordings of one thing, separated by `|`, are averaged.
            hints: a person's boxes and points in native pixels, in place of those that the text would give; only
                where `info.takes_hints`.
            always: segment even where the method would answer "not found".

        Raises:
            BadInput: hints outside the image or that the method cannot use, or a text that cannot be used.
        """

    def prepare(self, images: Sequence[MedImage]) -> None:
        """Encode images that will be asked about next; it changes no answer on a CPU.

        There another thread may call it while `segment` answers about images that were prepared before.
        """

    def images_at_once(self, most: int) -> int:
        """How many images, from 1 to `most`, `prepare` should be given so that they take less time than alone.

        With 1 it need not be called.
        """


@dataclass(frozen=True, eq=False, kw_only=True)
class Weighed:
    """The evidence for a text on a slice that nothing was drawn on yet."""

    size: tuple[int, int]
    """(height, width) of the slice."""
    cells: Cells
    doubt: NothingFound | None = None
    """Why nothing is to be drawn; None where something is."""
    settled: bool = False
    """Whether neighbours were heard: then they have decided which parts count, and the slice alone decides no more."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time of each stage so far."""


class StackSegmenter(Segmenter, Protocol):
    """A method whose evidence may be settled among the slices of a stack before it draws.

    `draw(image, text, weigh(image, text))` is `segment(image, text)`. The thread that prepares images may weigh too.
    """

    def weigh(self, image: MedImage, text: str) -> Weighed:
        """The evidence for what `text` names; raises as `segment` does."""

    def draw(self, image: MedImage, text: str, weighed: Weighed) -> Segmentation:
        """The answer to evidence of `weigh`, settled or not."""

    def features_of(self, image: MedImage) -> FloatArray:
        """(1, channels, rows, columns): what the image encoder makes of an image."""

    def recall(self, image: MedImage, features: FloatArray) -> None:
        """Take what `features_of` gave of this image, so that it is not encoded again."""


def check_hints(hints: Hints | None, info: MethodInfo) -> None:
    """Refuse hints that a method cannot use, before anything runs.

    Raises:
        BadInput: boxes or points for a method that looks at the image and the text alone.
    """
    if hints and not info.takes_hints:
        raise BadInput(f"{info.name} has no use for boxes and points", "leave them out, or choose another preset")
    if hints and hints.points is not None and not info.takes_points:
        raise BadInput(f"the Segment Anything model of {info.name} was trained with boxes alone", "give --box")
