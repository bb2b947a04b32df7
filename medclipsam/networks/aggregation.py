"""EM aggregation: visual and text tokens of an image gather around common centres, which the texts seed.

    centres = [texts; bank]        E: r = softmax(tokens . centres / temperature)
                                   M: centres = unit(sum of r * tokens)
    tokens + gain * W (r centres)  -> tokens that lie closer to what their kind has in common

After EMANet (Li et al., ICCV 2019) and EM for image and text (Jin et al., NeurIPS 2022), derived anew; the joint
tokens, text seeds and low temperature are EM-CLIP's as far as its abstract tells. Tokens are unit vectors about their
mean, for what all of them share would make every assignment alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FIRST_GAIN = 1e-3
"""How much of what was gathered is added at first."""
CROWDED = 0.3
"""Cosine of two centres above which they push each other apart."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Assignment:
    """Which token belongs to which centre; the first centres are those of the texts, in the texts' order."""

    tokens: Tensor
    """(B, M, C), unit length: the visual ones, then the texts."""
    shares: Tensor
    """(B, M, J), each row sums to 1."""
    centres: Tensor
    """(B, J, C), unit length."""

    @property
    def gathered(self) -> Tensor:
        """(B, M, C): each token by the centres that it belongs to."""
        return self.shares @ self.centres

    def entropy(self) -> Tensor:
        """Mean entropy of a token's shares, from 0 (one centre) to 1 (all alike)."""
        logs = self.shares.clamp(min=1e-9).log()
        return -(self.shares * logs).sum(dim=2).mean() / math.log(self.shares.shape[2])

    def cosine(self) -> Tensor:
        """Mean cosine of two different centres: 1 where all have become one."""
        return self._between().mean()

    def spread(self) -> Tensor:
        """Loss: distance of tokens from what gathers them, and a tenth of how crowded centres lie."""
        distance = 1 - (self.tokens * self.gathered).sum(dim=2)
        return distance.mean() + 0.1 * (self._between() - CROWDED).clamp(min=0).mean()

    def anchored(self, temperature: float) -> Tensor:
        """Loss: of all texts, each text's centre must lie nearest to its own."""
        texts = self.texts
        count = texts.shape[1]
        logits = self.centres[:, :count] @ texts.detach().transpose(1, 2) / temperature
        own = torch.arange(count, device=logits.device).expand(len(logits), -1)
        return F.cross_entropy(logits.flatten(0, 1), own.flatten())

    @property
    def texts(self) -> Tensor:
        """(B, K, C): the text tokens."""
        return self.tokens[:, self.visual :]

    visual: int
    """How many of the tokens are visual."""

    def _between(self) -> Tensor:
        """(B, J * (J - 1)): cosines of different centres."""
        count = self.centres.shape[1]
        different = ~torch.eye(count, dtype=torch.bool, device=self.centres.device)
        return (self.centres @ self.centres.transpose(1, 2))[:, different]


class Gathering(nn.Module):
    """Adds to tokens what their centres say of them; little at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, width)
        self.gain = nn.Parameter(torch.full((width,), FIRST_GAIN))

    def forward(self, tokens: Tensor, gathered: Tensor) -> Tensor:
        return tokens + self.gain * self.out(gathered)


class EmAggregation(nn.Module):
    """The block for one grid of tokens.

    Args:
        width: channels of a token.
        bank: remembered centres beside the texts'; they start at right angles, so that no two can be alike.
        momentum: share of them that a training batch leaves in place.
        tells_texts: whether the texts are changed too; not where nobody reads them afterwards.
    """

    bank: Tensor

    def __init__(
        self,
        width: int,
        *,
        bank: int,
        momentum: float,
        iterations: int,
        temperature: float,
        tells_texts: bool = True,
    ) -> None:
        super().__init__()
        self.momentum, self.iterations, self.temperature = momentum, iterations, temperature
        self.register_buffer("bank", nn.init.orthogonal_(torch.empty(bank, width)) if bank else torch.zeros(0, width))
        self.visual = Gathering(width)
        self.text = Gathering(width) if tells_texts else None

    def forward(self, visual: Tensor, texts: Tensor) -> tuple[Tensor, Tensor, Assignment]:
        """(B, N, C) and (B, K, C) -> the same, and how they were gathered."""
        found = self.assign(visual, texts)
        if self.training:
            self._remember(found.centres[:, texts.shape[1] :].detach())
        gathered = found.gathered.to(visual.dtype)
        count = visual.shape[1]
        visual = self.visual(visual, gathered[:, :count])
        return visual, texts if self.text is None else self.text(texts, gathered[:, count:]), found

    def assign(self, visual: Tensor, texts: Tensor) -> Assignment:
        """Run EM, in single precision; gradients flow through the last iteration, which is enough to learn from."""
        with torch.autocast(visual.device.type, enabled=False):  # the low temperature makes the last bits matter
            return self._assigned(visual, texts)

    def _assigned(self, visual: Tensor, texts: Tensor) -> Assignment:
        seeds = _centred(texts.float())
        tokens = torch.cat([_centred(visual.float()), seeds], dim=1)
        centres = torch.cat([seeds, self.bank.float().expand(len(seeds), -1, -1)], dim=1)
        with torch.no_grad():
            for _ in range(self.iterations - 1):
                centres = self._moved(tokens, self._shares(tokens, centres))
        centres = self._moved(tokens, self._shares(tokens, centres))
        return Assignment(tokens=tokens, shares=self._shares(tokens, centres), centres=centres, visual=visual.shape[1])

    def _shares(self, tokens: Tensor, centres: Tensor) -> Tensor:
        return (tokens @ centres.transpose(1, 2) / self.temperature).softmax(dim=2)

    @staticmethod
    def _moved(tokens: Tensor, shares: Tensor) -> Tensor:
        return F.normalize(shares.transpose(1, 2) @ tokens, dim=2)

    @torch.no_grad()
    def _remember(self, centres: Tensor) -> None:
        """Move the bank a little towards the mean of a batch's centres (B, bank, C)."""
        moved = self.momentum * self.bank + (1 - self.momentum) * centres.mean(dim=0)
        self.bank.copy_(F.normalize(moved, dim=1))


def _centred(tokens: Tensor) -> Tensor:
    """(B, n, C) -> unit vectors about the mean of their kind in their image."""
    return F.normalize(tokens - tokens.mean(dim=1, keepdim=True), dim=2)
