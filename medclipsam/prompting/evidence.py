"""The evidence for a text in an image: where it lies, and whether it is there at all, for every model and explainer.

    image --look (slow, once)--> view --weigh (fast, for each text)--> Evidence(saliency over the image, presence)

Those who find it are in `prompting.sources`, with torch, and `prompting.exported`, without. No torch here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from medclipsam.types import Familiar, FloatArray, MedImage

if TYPE_CHECKING:
    from medclipsam.backbones.wordpieces import Unread

CACHED_TEXTS = 1024
BETWEEN_WORDINGS = "|"


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """What an image says of a text."""

    saliency: FloatArray
    """(height, width) in [0, 1] over the native image."""
    presence: float
    """In [0, 1]: does the image show what the text names?"""
    notes: tuple[str, ...] = ()
    """What a person should know about how the text was read."""
    familiar: Familiar | None = None
    """Whether the model was taught what the text names; None of a model that does not know."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Cells:
    """What an image says of a text before it is drawn over the image: small enough to keep for a whole stack."""

    logits: FloatArray
    """(rows, columns) over the letterboxed square, above the text's own threshold: positive where it shows."""
    presence: float
    """See `Evidence`."""
    notes: tuple[str, ...] = ()
    familiar: Familiar | None = None


class EvidenceSource(Protocol):
    """A model and a way to ask it."""

    def look(self, image: MedImage) -> Any:
        """Everything that no text changes."""

    def weigh(self, image: MedImage, view: Any, text: str, seed: int) -> Evidence:
        """The evidence for one text."""


@runtime_checkable
class CellSource(EvidenceSource, Protocol):
    """A model whose maps are absolute, so that those of neighbouring slices can be combined before they are drawn."""

    def cells(self, view: Any, text: str) -> Cells:
        """The evidence for one text, cell by cell."""

    def drawn(self, image: MedImage, cells: Cells) -> Evidence:
        """The cells over the image; `weigh` is this of the image's own."""


def wordings(text: str) -> list[str]:
    """The wordings of a prompt: "breast tumor | breast mass" is an ensemble of two (MedCLIP-SAMv2, P4 and P5)."""
    return [part for part in (piece.strip() for piece in text.split(BETWEEN_WORDINGS)) if part] or [text]


def unread_notes(unread: Callable[[str], Unread | None], text: str) -> tuple[str, ...]:
    """A note for each wording that is longer than a model reads, by what the model says of it."""
    parts = {wording: unread(wording) for wording in wordings(text)}
    return tuple(
        f'"{wording[:40]}..." is longer than the {part.context} tokens that the text model reads: its last '
        f"{part.tokens} tokens have no say"
        for wording, part in parts.items()
        if part
    )
