"""M2IB: an information bottleneck on the image tower shows where the text finds its evidence.

Wang et al. (NeurIPS 2023, eq. 5-8), as MedCLIP-SAMv2 uses it (eq. 16). After block L every number of every token passes
a gate: the more it is closed, the more noise replaces it. What must stay open for the image to keep matching the text
is the map:

    tokens x --gate a--> t = s(a) x + (1 - s(a)) noise --upper--> cos with the text      relevance, to be kept
                         KL( t | noise ) = softplus(a) + ((s(a) x)^2 + (1 - s(a))^2 - 1) / 2    information, to be cut

The released code runs both towers whole, ten times, for ten copies of the pixels, with gradients for every weight. The
same map needs the text embedding once, the blocks below L once, gradients for the gate alone, and no last step, whose
update nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.tower import ImageTextModel, checked_layer, images_at_once
from medclipsam.config import M2IB
from medclipsam.errors import BadInput

COSINE_EPSILON = 1e-6
"""Smallest length that a cosine divides by (M2IB, released code)."""


class Explainer(Protocol):
    """A way to say where in an image a text finds its evidence."""

    def layer_in(self, model: ImageTextModel) -> int:
        """The block after which `model.lower` must stop.

        Raises:
            BadInput: the tower has no such block.
        """

    def explain(
        self, model: ImageTextModel, tokens: Tensor, text: Tensor, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Explain each image by its text.

        Args:
            model: frozen; it is the same afterwards.
            tokens: (B, prefix + rows * columns, width) from `model.lower(pixels, layer_in(model))`. An image with
                several prompts comes several times.
            text: (B, D) from `model.encode_text`, of any length.
            generators: one for each row, where the method draws noise.

        Returns:
            (B, rows, columns) in [0, 1] float32, lowest 0 and highest 1. All zero where there is nothing to show: a
            constant map, values that are not finite, or a text that has no bearing on any token.
        """


@dataclass(frozen=True, kw_only=True)
class InformationBottleneck:
    """M2IB on the image side.

    Raises:
        BadInput: settings without a step, a sample or a positive learning rate.
    """

    settings: M2IB = field(default_factory=M2IB)

    def __post_init__(self) -> None:
        chosen = self.settings
        if chosen.steps < 1 or chosen.samples < 1 or chosen.learning_rate <= 0:
            raise BadInput(f"M2IB with {chosen.steps} steps, {chosen.samples} samples, rate {chosen.learning_rate}")

    def layer_in(self, model: ImageTextModel) -> int:
        """The layer of the settings, checked."""
        return checked_layer(self.settings.layer, model.blocks)

    def explain(
        self, model: ImageTextModel, tokens: Tensor, text: Tensor, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """See `Explainer.explain`; the noise of a row depends on its generator alone."""
        upper = partial(model.upper, layer=self.layer_in(model))
        if len(generators) != len(tokens):
            raise ValueError(f"{len(tokens)} rows of tokens with {len(generators)} generators")
        maps = tokens.new_zeros(len(tokens), model.grid[0] * model.grid[1])
        for rows in passes(tokens, text):
            found = bottleneck(upper, tokens[rows], text[rows], generators[rows], self.settings)
            maps[rows] = unit_range(heard_information(found, model.prefix_tokens))
        return maps.view(-1, *model.grid)


@dataclass(frozen=True, eq=False, kw_only=True)
class Bottleneck:
    """What the optimisation leaves for each token."""

    information: Tensor
    """(B, N) in nats: how much of the token had to pass."""
    heard: Tensor
    """(B, N): False where the relevance never depended on the token."""


def information_terms(alpha: Tensor, tokens: Tensor) -> Tensor:
    """KL( N(s x, (1 - s)^2) | N(0, 1) ) for each number x, with s = sigmoid(alpha) (M2IB, eq. 6-8).

    -log(1 - s) is softplus(alpha): no logarithm of a number that vanishes when the gate opens.
    """
    gate = torch.sigmoid(alpha)
    return F.softplus(alpha) + ((gate * tokens) ** 2 + (1 - gate) ** 2 - 1) / 2


def bottleneck(
    upper: Callable[[Tensor], Tensor],
    tokens: Tensor,
    target: Tensor,
    generators: Sequence[torch.Generator],
    settings: M2IB,
) -> Bottleneck:
    """Learn how much of each token must pass for `upper` to keep pointing to the target.

    Rows do not see each other: their losses are added, and Adam works number by number.

    Args:
        upper: (n, N, width) -> (n, D).
        tokens: (B, N, width), without gradient.
        target: (B, D).
        generators: one for each row; each step draws (samples, N, width) from it.
        settings: layer apart, all of them count.
    """
    tokens, target = tokens.detach(), target.detach()
    alpha = torch.full_like(tokens, settings.initial_alpha).requires_grad_()
    adam = torch.optim.Adam([alpha], lr=settings.learning_rate)
    heard = torch.zeros(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    noise = torch.empty(len(tokens), settings.samples, *tokens.shape[1:])
    with torch.enable_grad():
        for _ in range(settings.steps - 1):
            pull = _pull(upper, tokens, alpha.detach(), target, drawn(noise, generators).to(tokens.device))
            (cost,) = torch.autograd.grad(information_terms(alpha, tokens).mean(dim=(1, 2)).sum(), alpha)
            heard |= (pull != 0).any(dim=-1)
            alpha.grad = settings.beta * cost - pull
            adam.step()
    information = information_terms(alpha.detach(), tokens).nansum(dim=-1)
    return Bottleneck(information=information, heard=heard)


def heard_information(found: Bottleneck, prefix: int = 0) -> Tensor:
    """(B, N - prefix): the information after the prefix; zero for a row in which the target touched none of it."""
    touched = found.heard[:, prefix:].any(dim=1, keepdim=True)
    return found.information[:, prefix:] * touched


def unit_range(values: Tensor) -> Tensor:
    """(B, N) -> each row from 0 to 1; zeros for a row that is constant or not finite."""
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    span = high - low
    usable = torch.isfinite(span) & (span > 0)
    return torch.where(usable, (values - low) / torch.where(usable, span, 1.0), 0.0)


def passes(tokens: Tensor, text: Tensor) -> list[slice]:
    """Which rows go together, so that memory suffices and, on the CPU, no row depends on another.

    Raises:
        ValueError: tokens and texts of different number.
    """
    if len(tokens) != len(text):
        raise ValueError(f"{len(tokens)} rows of tokens with {len(text)} texts")
    size = images_at_once(tokens.device)
    return [slice(start, start + size) for start in range(0, len(tokens), size)]


def drawn(noise: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """The tensor (B, samples, N, width), each row of it drawn anew from its generator, standard normal.

    It lies on the CPU, so that every device gets the same; drawing into the same memory saves taking it again.
    """
    for row, generator in zip(noise, generators, strict=True):
        row.normal_(generator=generator)
    return noise


def _pull(upper: Callable[[Tensor], Tensor], tokens: Tensor, alpha: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    """(B, N, width): how far each number of alpha moves the relevance.

    The relevance is the cosine of the noisy embeddings and the target: the mean over samples, the sum over rows. With
    G its gradient at the noisy tokens s x + (1 - s) noise, that at the gate s is the sum over samples of G (x - noise):
    x leaves the sum, and nothing of the gate has to be remembered for each sample.
    """
    gate = torch.sigmoid(alpha)
    noisy = torch.lerp(noise, tokens[:, None], gate[:, None]).requires_grad_()
    embeddings = upper(noisy.flatten(0, 1)).view(*noise.shape[:2], -1)
    cosine = F.cosine_similarity(embeddings, target[:, None], dim=-1, eps=COSINE_EPSILON)
    (slope,) = torch.autograd.grad(cosine.mean(dim=1).sum(), noisy)
    return gate * (1 - gate) * (tokens * slope.sum(dim=1) - (slope * noise).sum(dim=1))
