"""Finds the evidence for a text by exported graphs of the embedded model, without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medclipsam.backbones.letterbox import Letterbox
from medclipsam.backbones.sam_exported import SIDE, ExportedSam
from medclipsam.backbones.sam_masks import logistic
from medclipsam.backbones.vocabulary import Vocabulary
from medclipsam.engines import Graph
from medclipsam.memory.shelf import Shelf, on_shelf
from medclipsam.prompting.evidence import Cells, Evidence, unread_notes, wordings
from medclipsam.prompting.exported_texts import ExportedTexts
from medclipsam.types import Familiar, FloatArray, MedImage


@dataclass(frozen=True, kw_only=True)
class TowerGraphs:
    """The image's part of the embedded CLIP, each graph given when it is needed."""

    tower: Callable[[], Graph]
    """Features and pixels of an image -> cells (1, 64, 64, D) and outline (1, 128, 128, P)."""
    weigh: Callable[[], Graph]
    """These and a text (D,) -> dense logits (128, 128) above their threshold, presence in [0, 1]."""


class ExportedEvidence:
    """The embedded model's own map, as `DenseEvidence` draws it.

    Args:
        sam: whose features the tower reads.
        graphs: the embedded CLIP.
        texts: reads its texts.
        vocabulary: the words that it was taught; None where that is not known.
        shelf: where cells are kept for other processes.
    """

    def __init__(
        self,
        sam: ExportedSam,
        graphs: TowerGraphs,
        texts: ExportedTexts,
        *,
        vocabulary: Vocabulary | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self._sam, self._graphs, self._texts, self._shelf = sam, graphs, texts, shelf
        self._vocabulary = vocabulary

    def look(self, image: MedImage) -> list[FloatArray]:
        """The image's cells and outline."""
        return on_shelf(self._shelf, image.digest, ["cells", "outline"], lambda: self._seen(image))

    def weigh(self, image: MedImage, view: Sequence[FloatArray], text: str, seed: int) -> Evidence:
        """Dense similarity; nothing here is random."""
        return self.drawn(image, self.cells(view, text))

    def cells(self, view: Sequence[FloatArray], text: str) -> Cells:
        """See `CellSource`."""
        read = [self._texts.read(wording) for wording in wordings(text)]
        logits, presence = self._graphs.weigh()(*view, combined([embedding for embedding, _ in read]))
        return Cells(
            logits=np.array(logits.reshape(logits.shape[-2:]), np.float32),
            presence=float(presence.reshape(-1)[0]),
            notes=unread_notes(self._texts.unread, text),
            familiar=self._familiar(text, [sentence for _, sentence in read]),
        )

    def drawn(self, image: MedImage, cells: Cells) -> Evidence:
        """See `CellSource`."""
        saliency = logistic(Letterbox(size=image.size, side=SIDE).cells(cells.logits))
        return Evidence(saliency=saliency, presence=cells.presence, notes=cells.notes, familiar=cells.familiar)

    def _seen(self, image: MedImage) -> Sequence[FloatArray]:
        square = Letterbox(size=image.size, side=SIDE).fill(image.pixels)
        return self._graphs.tower()(self._sam.set_image(image).features, square)

    def _familiar(self, text: str, sentences: Sequence[FloatArray]) -> Familiar | None:
        """As `CompactClip.familiar`."""
        if self._vocabulary is None:
            return None
        pairs = zip(wordings(text), sentences, strict=True)
        judged = [self._vocabulary.familiar(wording, sentence) for wording, sentence in pairs]
        return next((each for each in judged if each.taught), judged[0])


def combined(rows: Sequence[FloatArray]) -> FloatArray:
    """One text (D,) for its wordings, each (D,): the one, or the mean at unit length."""
    if len(rows) == 1:
        return rows[0]
    mean = np.mean([row / np.linalg.norm(row) for row in rows], axis=0)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)
