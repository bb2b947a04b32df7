"""How is a wording read that nobody taught? As the known sentences are that lie nearest to it.

The text head is sure of its training sentences and reads others less well. So a text takes the mean of what the head
makes of the known ones, weighted by how near they lie to it (kernel regression: Nadaraya 1964, Watson 1964); a text
that is near to none is left to the head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.compact import CompactTower

TEMPERATURE = 0.01
"""Of the cosines between sentences; chosen on validation images with wordings that neither training nor test has."""
STRANGE, FAMILIAR = 0.5, 0.6
"""Cosine with the nearest known sentence below which the head alone reads a text, and above which the known ones do."""


class KnownTexts:
    """The sentences that a tower was taught, each read once.

    Args:
        tower: frozen; one that knows none reads with its head alone.
    """

    @torch.no_grad()
    def __init__(self, tower: CompactTower) -> None:
        self._tower = tower
        self._keys = F.normalize(tower.known, dim=-1)
        self._values = F.normalize(tower.embed_text(tower.known), dim=-1)

    @torch.no_grad()
    def read(self, sentences: Tensor) -> Tensor:
        """(n, 384) sentence vectors -> (n, embedding), unit length."""
        alone = F.normalize(self._tower.embed_text(sentences), dim=-1)
        if not len(self._keys):
            return alone
        nearness = F.normalize(sentences, dim=-1) @ self._keys.T
        recalled = F.normalize((nearness / TEMPERATURE).softmax(dim=-1) @ self._values, dim=-1)
        share = ((nearness.amax(dim=-1, keepdim=True) - STRANGE) / (FAMILIAR - STRANGE)).clamp(0, 1)
        return F.normalize(torch.lerp(alone, recalled, share), dim=-1)
