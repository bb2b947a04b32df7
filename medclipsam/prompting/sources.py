"""Finds the evidence for a text with torch: explainers on any cut tower, and the cells of the embedded model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.compact_clip import CompactClip, CompactView
from medclipsam.backbones.geometry import Frame
from medclipsam.backbones.tower import ImageTextModel, ensemble
from medclipsam.config import FitKind
from medclipsam.prompting.evidence import CACHED_TEXTS, Cells, Evidence, unread_notes, wordings
from medclipsam.prompting.saliency import Explainer
from medclipsam.runtime import generator_for, one_thread
from medclipsam.types import MedImage

NEUTRAL = ("a medical image", "a normal scan", "sitting on a chair", "ljashdbflsabdf")
"""What a text must beat to count as present where a model has no calibrated presence of its own."""
CLIP_SCALE = 85.2
"""exp(4.4454): BiomedCLIP's scale of cosines (spec 3.1)."""


class TokenEvidence:
    """An explainer on a cut tower.

    Args:
        model: the CLIP.
        explainer: M2IB or Grad-CAM.
        fit: how the image enters the square.
        stretch: draw the square's map over the whole image, as the released code does after its crop.
    """

    def __init__(self, model: ImageTextModel, explainer: Explainer, fit: FitKind, stretch: bool = False) -> None:
        self._model = model
        self._explainer = explainer
        self._fit: FitKind = fit
        self._stretch = stretch
        self._layer = explainer.layer_in(model)
        self._embed = _remembering(model.encode_text)

    def look(self, image: MedImage) -> Tensor:
        """(1, N, width): tokens after the explainer's block."""
        return self._model.tokens(image, self._fit, self._layer)

    def weigh(self, image: MedImage, view: Tensor, text: str, seed: int) -> Evidence:
        """The explainer's map, and how far the text beats the neutral ones."""
        target = self._embed(text)[None]
        generator = generator_for(seed, image.digest)
        heat = self._explainer.explain(self._model, view, target, [generator])[0]
        frame = Frame(kind=self._fit, size=image.size, side=self._model.side)
        with one_thread():
            saliency = frame.stretched(heat) if self._stretch else frame.inverse(heat).clamp(0, 1).cpu().numpy()
        return Evidence(
            saliency=saliency, presence=self._presence(view, target), notes=unread_notes(self._model.unread, text)
        )

    @torch.no_grad()
    def _presence(self, view: Tensor, target: Tensor) -> float:
        embedding = self._model.upper(view, self._layer)
        texts = torch.cat([target, *(self._embed(text)[None] for text in NEUTRAL)])
        cosine = F.cosine_similarity(embedding, texts)
        return float(torch.sigmoid(CLIP_SCALE * (cosine[0] - cosine[1:].max())))


class DenseEvidence:
    """The embedded model's own map: the probability that each cell shows what the text names."""

    def __init__(self, model: CompactClip) -> None:
        self._model = model
        self._read = _remembering(model.encode_text)

    def look(self, image: MedImage) -> CompactView:
        """Cells and outline."""
        return self._model.view(image)

    def weigh(self, image: MedImage, view: CompactView, text: str, seed: int) -> Evidence:
        """Dense similarity; nothing here is random."""
        return self.drawn(image, self.cells(view, text))

    def cells(self, view: CompactView, text: str) -> Cells:
        """See `CellSource`."""
        logits, presence = self._model.compare(view, self._read(text))
        return Cells(
            logits=logits.cpu().numpy(),
            presence=presence,
            notes=unread_notes(self._model.unread, text),
            familiar=self._model.familiar(wordings(text)),
        )

    def drawn(self, image: MedImage, cells: Cells) -> Evidence:
        """See `CellSource`."""
        frame = Frame(kind="letterbox", size=image.size, side=self._model.side)
        logits = torch.from_numpy(cells.logits).to(self._model.device)
        with one_thread():
            saliency = frame.inverse(logits).sigmoid().cpu().numpy()
        return Evidence(saliency=saliency, presence=cells.presence, notes=cells.notes, familiar=cells.familiar)


def _remembering(read: Callable[[Sequence[str]], Tensor]) -> Callable[[str], Tensor]:
    """The embedding of a prompt, once for each distinct text; several wordings are averaged at unit length."""

    @lru_cache(maxsize=CACHED_TEXTS)
    def embed(text: str) -> Tensor:
        with one_thread():
            embeddings = read(wordings(text))
        return embeddings[0] if len(embeddings) == 1 else ensemble(embeddings)

    return embed
