"""Contrastive losses of images and captions, with and without hard negatives.

DHN-NCE, the decoupled hard-negative loss of MedCLIP-SAMv2 (Koleilat et al., eq. 7-13), and its relatives are one
formula. With x_ij = cos(image_i, text_j) / temperature, for a row i (and for a column, with image and text exchanged):

    loss_i = -x_ii + log( alpha e^x_ii + sum_{j != i} w_ij e^x_ij )
    w_ij   = (B-1) e^(beta x_ij) / sum_{k != i} e^(beta x_ik)

              alpha   beta                               text 0   text 1   text 2
    InfoNCE     1      0     van den Oord, 2018  image 0   pull    push     push hardest where the cosine is high
    DCL         0      0     Yeh, ECCV 2022      image 1   push    pull     push
    HN-NCE      1     > 0    Radenovic, CVPR 2023
    DHN-NCE     0     > 0    the paper: the positive is absent from the denominator

The code that the authors released computes something else (`ReleasedLoss`); it is here for comparison alone.
Across processes, gather the embeddings first: `medclipsam.training.distributed.gather_rows`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from medclipsam.errors import BadInput
from medclipsam.training.recipes import LossName


class ContrastiveLoss(Protocol):
    """A loss over all pairs of a batch."""

    def __call__(self, image: Tensor, text: Tensor, same: Tensor | None = None) -> Tensor:
        """The loss of matching rows.

        Args:
            image: (B, D) embeddings of any length; B >= 2. Half precision is raised to single.
            text: (B, D); row i belongs to image i.
            same: (B, B) booleans, True where text j fits image i as well as its own does (an identical caption), so
                that the pair is no negative. The diagonal is ignored. None (as published): all others are negatives.

        Returns:
            A scalar: mean over rows plus mean over columns (the paper sums, which scales the gradient alone).

        Raises:
            BadInput: fewer than two pairs, or shapes that differ.
        """

    def of_cosines(self, cosines: Tensor, same: Tensor | None = None) -> Tensor:
        """The same from (B, B) cosines: row = image, column = text."""


@dataclass(frozen=True, kw_only=True)
class HardNegativeLoss:
    """The formula above; a row without any negative (everything masked by `same`) does not count."""

    temperature: float = 0.6
    """Divides the cosines (paper section 3.4.1; released script)."""
    beta_image: float = 0.15
    """Hardness where an image looks for its text: beta1 (the same sources)."""
    beta_text: float = 0.15
    """Hardness where a text looks for its image: beta2 (the same sources)."""
    positive_weight: float = 0.0
    """alpha: how much of the positive stands in the denominator; 0 decouples it."""
    detach_weights: bool = False
    """Let no gradient pass through w (the paper's does pass, and can pull very easy negatives a little)."""

    def __call__(self, image: Tensor, text: Tensor, same: Tensor | None = None) -> Tensor:
        return self.of_cosines(pair_cosines(image, text), same)

    def of_cosines(self, cosines: Tensor, same: Tensor | None = None) -> Tensor:
        return self.image_rows(cosines, same).mean() + self.text_rows(cosines, same).mean()

    def image_rows(self, cosines: Tensor, same: Tensor | None = None) -> Tensor:
        """(B,) losses of images that look for their texts; fewer where `same` masks whole rows, one zero where all."""
        return self._rows(_checked(cosines), self.beta_image, same)

    def text_rows(self, cosines: Tensor, same: Tensor | None = None) -> Tensor:
        """(B,) losses of texts that look for their images."""
        return self._rows(_checked(cosines).T, self.beta_text, None if same is None else same.T)

    def _rows(self, cosines: Tensor, beta: float, same: Tensor | None) -> Tensor:
        negative = ~torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)
        if same is not None:
            negative &= ~same
        usable = negative.any(dim=1)
        if not usable.any():
            return 0 * cosines.diagonal().sum()[None]
        scaled, negative = cosines[usable] / self.temperature, negative[usable]
        positive = (cosines.diagonal() / self.temperature)[usable]
        log_weights = beta * scaled - _log_sum(beta * scaled, negative)[:, None]
        log_weights = log_weights + negative.sum(dim=1, keepdim=True, dtype=scaled.dtype).log()
        denominator = _log_sum(scaled + (log_weights.detach() if self.detach_weights else log_weights), negative)
        if self.positive_weight:
            denominator = torch.logaddexp(denominator, positive + math.log(self.positive_weight))
        return denominator - positive


@dataclass(frozen=True, kw_only=True)
class ReleasedLoss:
    """What the released code of DHN-NCE computes, in closed form; not the paper's loss.

    It masks by multiplying before the exponential and takes the logarithm element by element, so that the normaliser
    enters with the wrong sign: hard negatives are pulled towards the anchor. For parity experiments alone.
    """

    temperature: float = 0.6
    beta_image: float = 0.15
    beta_text: float = 0.15

    def __call__(self, image: Tensor, text: Tensor, same: Tensor | None = None) -> Tensor:
        return self.of_cosines(pair_cosines(image, text), same)

    def of_cosines(self, cosines: Tensor, same: Tensor | None = None) -> Tensor:
        if same is not None:
            raise BadInput("the released loss cannot leave out identical captions", "use the loss dhn-nce")
        scaled = _checked(cosines) / self.temperature
        return self._direction(scaled, self.beta_image) + self._direction(scaled.T, self.beta_text)

    def _direction(self, scaled: Tensor, beta: float) -> Tensor:
        pairs = len(scaled)
        trace = scaled.trace()
        normaliser = scaled.masked_fill(torch.eye(pairs, dtype=torch.bool, device=scaled.device), 0).logsumexp(dim=1)
        pulled = (1 + beta) * (scaled.sum() - trace) - trace - pairs * normaliser.sum()
        return pulled / pairs**2 + math.log(pairs - 1)


def contrastive_loss(
    name: LossName, *, temperature: float = 0.6, beta: float = 0.15, detach_weights: bool = False
) -> ContrastiveLoss:
    """Choose a loss once, by name.

    Raises:
        BadInput: an unknown name, or a temperature or beta that is not usable.
    """
    if not temperature > 0 or not beta >= 0:
        raise BadInput(f"temperature {temperature} and beta {beta} do not fit", "temperature > 0 and beta >= 0")
    hard = HardNegativeLoss(
        temperature=temperature, beta_image=beta, beta_text=beta, positive_weight=1, detach_weights=detach_weights
    )
    easy = HardNegativeLoss(temperature=temperature, beta_image=0, beta_text=0, positive_weight=1)
    losses: dict[str, ContrastiveLoss] = {
        "dhn-nce": replace(hard, positive_weight=0),
        "hn-nce": hard,
        "dcl": replace(easy, positive_weight=0),
        "infonce": easy,
        "dhn-nce-released": ReleasedLoss(temperature=temperature, beta_image=beta, beta_text=beta),
    }
    if name not in losses:
        raise BadInput(f"unknown loss {name!r}", f"choose one of {', '.join(losses)}")
    return losses[name]


def pair_cosines(image: Tensor, text: Tensor) -> Tensor:
    """(B, D) and (B, D) -> (B, B) cosines in at least single precision, also inside autocast."""
    if image.shape != text.shape or image.ndim != 2:
        raise BadInput(f"embeddings of shape {tuple(image.shape)} and {tuple(text.shape)} are not pairs")
    with torch.autocast(image.device.type, enabled=False):
        return F.normalize(_raised(image), dim=-1) @ F.normalize(_raised(text), dim=-1).T


def identical(keys: Tensor) -> Tensor:
    """(B,) integers that stand for captions -> (B, B) booleans: which captions are the same."""
    return keys[:, None] == keys[None, :]


def _log_sum(values: Tensor, chosen: Tensor) -> Tensor:
    """log sum exp over the chosen entries of each row."""
    return values.masked_fill(~chosen, -math.inf).logsumexp(dim=1)


def _checked(cosines: Tensor) -> Tensor:
    if cosines.ndim != 2 or cosines.shape[0] != cosines.shape[1]:
        raise BadInput(f"cosines of shape {tuple(cosines.shape)} are not square")
    if len(cosines) < 2:
        raise BadInput("a contrastive loss needs at least two pairs in a batch", "raise batch_size")
    return _raised(cosines)


def _raised(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
