"""Cross-attention whose keys and values are Gaussians, and the adapter that it makes of two streams of tokens.

    weights  softmax(q . k_mean / sqrt(C) - beta * sqrt(q^2 . k_var / C))     the deviation of a logit lowers its weight
    values   v_mean + sqrt(v_var) * noise                                     drawn once for all queries
    answer   g * out(weights @ values) + (1 - g) * query                      g: one learned number in [0, 1]

MedCLIPSeg, section 3.2; released code, `trainers/layers.py`. Tensors have leading dimensions (samples, rows):
before the first noise samples is 1, and everything is computed once. Parameters are called as in the released
checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST_VARIANCE = 1e-6
SMALLEST_SQUARE = 1e-12
"""Keeps the gradient of a square root finite where a query is zero."""
Noise = Callable[[Tensor], Tensor]
"""Values (samples, rows, m, C) -> standard normal numbers of as many samples as are wanted; zeros for none."""


class ProbabilisticAttention(nn.Module):
    """One head of cross-attention.

    Args:
        width: of queries, keys and values.
        beta: weight of the deviation of a logit; 0 is plain attention on the means (paper: 2.35).
        gate: start of the gate's logit (released code: 0).
    """

    def __init__(self, width: int, beta: float, gate: float) -> None:
        super().__init__()
        self.beta = beta
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, 2 * width)
        self.v_proj = nn.Linear(width, 2 * width)
        self.out_proj = nn.Linear(width, width)
        self.norm_k = nn.LayerNorm(width)
        self.norm_v = nn.LayerNorm(width)
        self.gate = nn.Parameter(torch.tensor(float(gate)))

    def forward(self, asking: Tensor, asked: Tensor, noise: Noise, real: Tensor | None = None) -> Tensor:
        """Mix what is asked into what asks.

        Args:
            asking: (samples, rows, n, C).
            asked: (samples, rows, m, C).
            real: (rows, m) bool: False where nobody looks, such as padding; None: everybody looks everywhere.

        Returns:
            (samples, rows, n, C), of as many samples as the noise has.
        """
        mean, variance = _gaussian(self.v_proj(asked), self.norm_v)
        values = mean + (variance.sqrt() * noise(mean)).to(mean.dtype)
        mixed = self.out_proj(self.weights(asking, asked, real).to(values.dtype) @ values)
        share = self.gate.sigmoid()
        return share * mixed + (1 - share) * asking

    def weights(self, asking: Tensor, asked: Tensor, real: Tensor | None = None) -> Tensor:
        """(samples, rows, n, m): how much each query takes of each value."""
        query = self.q_proj(asking)
        mean, variance = _gaussian(self.k_proj(asked), self.norm_k)
        logits = (query @ mean.transpose(-1, -2)).float() / math.sqrt(query.shape[-1])
        if self.beta:
            spread = (query.square() @ variance.to(query.dtype).transpose(-1, -2)).float() / query.shape[-1]
            logits = logits - self.beta * spread.clamp_min(SMALLEST_SQUARE).sqrt()
        if real is not None:
            logits = logits.masked_fill(~real[:, None, :], -torch.inf)
        return logits.softmax(dim=-1)


def _gaussian(both: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Means, normalised, and variances in single precision, of (..., 2 C)."""
    mean, raw = both.chunk(2, dim=-1)
    return norm(mean), F.softplus(raw.float()) + SMALLEST_VARIANCE


class TwoWay(nn.Module):
    """The image asks the text, then the text asks the image that heard it."""

    def __init__(self, width: int, beta: float, gate: float) -> None:
        super().__init__()
        self.cross_attn_img_to_txt = ProbabilisticAttention(width, beta, gate)
        self.cross_attn_txt_to_img = ProbabilisticAttention(width, beta, gate)


class Adapter(nn.Module):
    """What is added to both streams before a frozen block: a PVL adapter.

    Args:
        image_width: of an image token.
        text_width: of a text token.
        width: in which they meet (paper: 256).
        beta, gate: see `ProbabilisticAttention`.
    """

    def __init__(self, image_width: int, text_width: int, width: int, *, beta: float, gate: float) -> None:
        super().__init__()
        self.proj_vis_down = nn.Sequential(nn.Linear(image_width, width, bias=False))
        self.proj_txt_down = nn.Linear(text_width, width, bias=False)
        self.two_way = TwoWay(width, beta, gate)
        self.proj_vis_up = nn.Linear(width, image_width, bias=False)
        self.proj_txt_up = nn.Linear(width, text_width, bias=False)

    def silence(self) -> None:
        """Begin by adding nothing."""
        for projection in (self.proj_vis_up, self.proj_txt_up):
            nn.init.zeros_(projection.weight)

    def forward(self, image: Tensor, text: Tensor, noise: Noise, real: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both streams (samples, rows, tokens, width) -> what to add to each."""
        seen, read = self.proj_vis_down(image), self.proj_txt_down(text)
        seen = self.two_way.cross_attn_img_to_txt(seen, read, noise, real)
        read = self.two_way.cross_attn_txt_to_img(read, seen, noise)
        return self.proj_vis_up(seen), self.proj_txt_up(read)


def no_noise(values: Tensor) -> Tensor:
    """The mean alone: one sample, always the same."""
    return torch.zeros((), device=values.device)


def fresh_noise(values: Tensor) -> Tensor:
    """One draw from torch's default generator of the device, as in training."""
    return torch.randn(values.shape, device=values.device)


def drawn_noise(generators: Sequence[torch.Generator]) -> Noise:
    """Draws of a generator for each sample, on the CPU, so that every device gets the same numbers."""

    def draw(values: Tensor) -> Tensor:
        drawn = [torch.randn(values.shape[1:], generator=generator) for generator in generators]
        return torch.stack(drawn).to(values.device)

    return draw
