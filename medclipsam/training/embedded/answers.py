"""The right answers of a batch of images to a batch of sentences, and what a map and a presence cost beside them.

Where the answer is known, each cell of the grid and the image as a whole learn it: binary cross-entropy and soft Dice
on the cells, binary cross-entropy on presence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.compact import OUTLINE, outlined
from medclipsam.networks.losses import soft_dice
from medclipsam.training import distributed
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.encodings import coverage_of
from medclipsam.training.embedded.texts import Text


@dataclass(frozen=True)
class Answers:
    """For every image and sentence."""

    known: Tensor
    """(B, K) bool."""
    present: Tensor
    """(B, K) bool: known, and the mask is not empty."""
    missing: Tensor
    """(B, K) bool: known, searched for in this folder, and the mask is empty."""
    coverage: Tensor
    """(number of present pairs, 128, 128), in the order of `present.nonzero()`."""

    @property
    def elsewhere(self) -> Tensor:
        """(B, K) bool: known, and no image of this folder can show it."""
        return self.known & ~self.present & ~self.missing

    def moved(self, moves: Tensor) -> Answers:
        """The same answers after each image was moved; a target that left the view is unknown."""
        image, _ = self.present.nonzero(as_tuple=True)
        coverage = move(self.coverage[..., None], moves[image], outside="zeros")[..., 0]
        still = coverage.amax(dim=(1, 2)) > 0.5
        known, present = self.known.clone(), self.present.clone()
        known[self.present] = still
        present[self.present] = still
        return Answers(known, present, self.missing, coverage[still])

    def gathered(self) -> Answers:
        """Those of all processes, in their order."""
        if distributed.world_size() == 1:
            return self
        dense = torch.zeros(*self.present.shape, OUTLINE, OUTLINE, device=self.coverage.device)
        dense[self.present] = self.coverage
        flags = torch.stack([self.known, self.present, self.missing], dim=1).to(torch.uint8)
        known, present, missing = distributed.gather_rows(flags).bool().unbind(1)
        return Answers(known, present, missing, distributed.gather_rows(dense)[present])

    def to(self, device: torch.device) -> Answers:
        """The same on another device."""
        return Answers(*(part.to(device) for part in (self.known, self.present, self.missing, self.coverage)))


def answers(images: Sequence[LabelledImage], masks: Sequence[Tensor], texts: Sequence[Text], corpus: Corpus) -> Answers:
    """Look up what each image should answer to each sentence.

    Args:
        masks: (targets, 128, 128) coverage in 0..255 of each image.
    """
    known = torch.zeros(len(images), len(texts), dtype=torch.bool)
    present, missing = torch.zeros_like(known), torch.zeros_like(known)
    coverages = []
    for i, (image, own) in enumerate(zip(images, masks, strict=True)):
        body = corpus.body(image)
        for k, text in enumerate(texts):
            named = text.answer(image, body)
            if named is None:
                continue
            coverage = coverage_of(image, own, named) if named else None
            if coverage is not None and coverage.any():
                present[i, k] = True
                coverages.append(coverage)
            known[i, k] = bool(present[i, k]) or not named or corpus.folder(image.folder).complete
            missing[i, k] = bool(named) and known[i, k] and not present[i, k]
    return Answers(known, present, missing, torch.stack(coverages) if coverages else torch.zeros(0, OUTLINE, OUTLINE))


def random_moves(count: int, share: float, generator: torch.Generator | None = None) -> Tensor:
    """(count, 2, 3) affine maps: mirror, zoom by a third, shift by a sixth; the identity for the others."""
    zoom = torch.empty(count).uniform_(math.log(0.7), math.log(1.35), generator=generator).exp()
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    moves = torch.zeros(count, 2, 3)
    moves[:, 0, 0], moves[:, 1, 1] = zoom * mirror, zoom
    moves[:, :, 2] = torch.empty(count, 2).uniform_(-1 / 3, 1 / 3, generator=generator)
    still = torch.rand(count, generator=generator) >= share
    moves[still] = torch.eye(2, 3)
    return moves


def move(maps: Tensor, moves: Tensor, outside: str = "border") -> Tensor:
    """Resample channels-last maps (B, rows, columns, C) by maps (B, 2, 3) of the grid."""
    if not len(maps):
        return maps
    size = [len(maps), 1, *maps.shape[1:3]]
    grid = F.affine_grid(moves.to(maps.device), size, align_corners=False)
    moved = F.grid_sample(maps.permute(0, 3, 1, 2), grid, padding_mode=outside, align_corners=False)
    return moved.permute(0, 2, 3, 1).contiguous()


def dense_loss(logits: Tensor, strokes: Tensor, truth: Answers) -> Tensor:
    """Cross-entropy and Dice of cells: logits (B, K, 64, 64) against the known answers.

    Those that are present are drawn finely, with their strokes (pairs, 128, 128).

    What is missing among its like weighs as much as one that is there: more would teach that it never is.
    """
    fine = outlined(logits[truth.present].float()[:, None], strokes[:, None])[:, 0]
    coverage = truth.coverage
    count = max(1, len(coverage))
    dice = soft_dice(fine.sigmoid(), coverage, (1, 2), smooth=4)
    entropy = F.binary_cross_entropy_with_logits(fine, coverage, reduction="none").mean((1, 2))
    nothing = F.softplus(logits.float()).mean((2, 3))
    missing = nothing[truth.missing].sum() / count
    strongest = nothing[truth.known & ~truth.present].amax()
    return (dice + 2 * entropy).sum() / count + nothing[truth.elsewhere].mean() + missing + 0.1 * strongest


def presence_loss(logits: Tensor, truth: Answers) -> Tensor:
    """Cross-entropy on "is it there at all"; what is there and what cannot be there count alike as groups.

    What is missing among its like is rare in a step, and counts as much as one that is there: as a group of its own it
    would outweigh the faint ones of its folders that are there.
    """
    entropy = F.binary_cross_entropy_with_logits(logits.float(), truth.present.float(), reduction="none")
    groups = [entropy[chosen] for chosen in (truth.present, truth.elsewhere, truth.missing)]
    there, _, missing = map(len, groups)
    weights = (1.0, 1.0, min(1.0, missing / max(1, there)))
    counted = [(group.mean(), weight) for group, weight in zip(groups, weights, strict=True) if len(group)]
    return torch.stack([mean * weight for mean, weight in counted]).sum() / sum(weight for _, weight in counted)
