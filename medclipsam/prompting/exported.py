"""Finds the evidence for a text by exported graphs of the embedded model, without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from medclipsam.backbones.letterbox import Letterbox
from medclipsam.backbones.sam_exported import SIDE, ExportedSam
from medclipsam.backbones.sam_masks import logistic
from medclipsam.backbones.wordpieces import WordPieces
from medclipsam.engines import Graph
from medclipsam.memory.shelf import Shelf, on_shelf
from medclipsam.prompting.evidence import CACHED_TEXTS, Evidence, unread_notes, wordings
from medclipsam.types import FloatArray, MedImage


@dataclass(frozen=True, kw_only=True)
class TowerGraphs:
    """The embedded CLIP in three graphs, each given when it is needed."""

    tower: Callable[[], Graph]
    """Features of an image -> cells (1, 64, 64, D), unit length."""
    text: Callable[[], Graph]
    """Rows of word pieces (1, n, 384) -> (1, D), unit length."""
    weigh: Callable[[], Graph]
    """Cells and a text (D,) -> dense logits (64, 64) above their threshold, presence in [0, 1]."""


class ExportedEvidence:
    """The embedded model's own map, as `DenseEvidence` draws it.

    Args:
        sam: whose features the tower reads.
        graphs: the embedded CLIP.
        pieces: its tokenizer.
        shelf: where cells and texts are kept for other processes.
    """

    def __init__(self, sam: ExportedSam, graphs: TowerGraphs, pieces: WordPieces, shelf: Shelf | None = None) -> None:
        self._sam, self._graphs, self._pieces, self._shelf = sam, graphs, pieces, shelf
        self._embed = lru_cache(maxsize=CACHED_TEXTS)(self._embedded)

    def look(self, image: MedImage) -> FloatArray:
        """The image's cells."""
        return on_shelf(
            self._shelf,
            image.digest,
            "cells",
            lambda: self._graphs.tower()(self._sam.set_image(image).features)[0],
        )

    def weigh(self, image: MedImage, view: FloatArray, text: str, seed: int) -> Evidence:
        """Dense similarity; nothing here is random."""
        logits, presence = self._graphs.weigh()(view, self._embed(text))
        saliency = logistic(Letterbox(size=image.size, side=SIDE).cells(logits.reshape(logits.shape[-2:])))
        return Evidence(
            saliency=saliency, presence=float(presence.reshape(-1)[0]), notes=unread_notes(self._pieces.unread, text)
        )

    def _embedded(self, text: str) -> FloatArray:
        return on_shelf(self._shelf, text, "text", lambda: self._read(text))

    def _read(self, text: str) -> FloatArray:
        """(D,): several wordings are averaged at unit length."""
        words = [self._pieces.rows(ids)[None] for ids in self._pieces.ids(wordings(text))]
        rows = np.concatenate([self._graphs.text()(row)[0] for row in words])
        if len(rows) == 1:
            return np.asarray(rows[0], np.float32)
        mean = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean), np.float32)
