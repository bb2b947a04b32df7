"""Grad-CAM: where the image-text score rises with the features; one backward pass, as a comparison to M2IB.

Selvaraju et al. (ICCV 2017, eq. 1-2) on a vision transformer: the tokens before the last block are the feature map, and
each channel weighs as much as the score's mean gradient along it.

    map = relu( sum_k w_k x_k ),   w_k = mean over tokens of d cos / d x_k
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.tower import ImageTextModel, checked_layer
from medclipsam.prompting.saliency import COSINE_EPSILON, passes, unit_range


@dataclass(frozen=True, kw_only=True)
class GradCam:
    """Grad-CAM on the image tower; an `Explainer` that draws no noise."""

    layer: int | None = None
    """0-based block whose output is the feature map; None: the one before the last."""

    def layer_in(self, model: ImageTextModel) -> int:
        """The layer, checked."""
        return checked_layer(max(model.blocks - 2, 0) if self.layer is None else self.layer, model.blocks)

    def explain(
        self, model: ImageTextModel, tokens: Tensor, text: Tensor, generators: Sequence[torch.Generator] = ()
    ) -> Tensor:
        """See `Explainer.explain`; generators are not used."""
        layer = self.layer_in(model)
        maps = tokens.new_zeros(len(tokens), model.grid[0] * model.grid[1])
        for rows in passes(tokens, text):
            maps[rows] = _activation(model, tokens[rows], text[rows], layer)
        return maps.view(-1, *model.grid)


def _activation(model: ImageTextModel, tokens: Tensor, text: Tensor, layer: int) -> Tensor:
    """(B, rows * columns) in [0, 1]."""
    features = tokens.detach().requires_grad_()
    with torch.enable_grad():
        score = F.cosine_similarity(model.upper(features, layer), text.detach(), dim=-1, eps=COSINE_EPSILON)
        (slope,) = torch.autograd.grad(score.sum(), features)
    weights = slope[:, model.prefix_tokens :].mean(dim=1, keepdim=True)
    activation = (weights * features.detach()[:, model.prefix_tokens :]).sum(dim=-1)
    return unit_range(activation.relu())
