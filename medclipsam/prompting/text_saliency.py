"""Which words of the prompt match the image? The same information bottleneck, inside the text tower.

M2IB (Wang et al., NeurIPS 2023) treats both towers alike: the gate sits after a block of the text tower and the image
embedding is what must be kept. The marks of start and end take part but are not words, so they are left out before the
scale is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from medclipsam.backbones.tower import CutTextModel
from medclipsam.config import M2IB
from medclipsam.prompting.saliency import bottleneck, heard_information, unit_range

TEXT_SETTINGS = M2IB(layer=9, beta=0.1)
"""M2IB's own defaults for the text side; MedCLIP-SAMv2 parses 0.3 and never uses it."""


@dataclass(frozen=True, kw_only=True)
class WordImportance:
    """One token of the prompt and its share in the match."""

    token: str
    """As the vocabulary writes it; word pieces keep their marks."""
    importance: float
    """In [0, 1]: 0 for the least important token, 1 for the most."""


def word_importances(
    model: CutTextModel,
    prompt: str,
    image: Tensor,
    generator: torch.Generator,
    settings: M2IB = TEXT_SETTINGS,
) -> tuple[WordImportance, ...]:
    """How much of each word must pass for the prompt to keep matching the image.

    Args:
        model: frozen; it is the same afterwards.
        prompt: one text; none is empty, and an empty one gives no words.
        image: (D,) embedding from `model.upper`, of any length.
        generator: where the noise comes from.
        settings: `layer` counts blocks of the text tower.

    Returns:
        In the order of the prompt. All zero where there is nothing to show: one word, an image embedding of zeros, or
        values that are not finite.

    Raises:
        BadInput: the text tower has no such layer.
    """
    read = model.lower_text(prompt, settings.layer)
    upper = partial(model.upper_text, ids=read.ids, layer=settings.layer)
    found = bottleneck(upper, read.states, image[None], [generator], settings)
    kept = torch.tensor(read.content, device=read.states.device)
    if not kept.any():
        return ()
    shares = unit_range(heard_information(found)[:, kept])[0].tolist()
    words = [word for word, is_content in zip(read.words, read.content, strict=True) if is_content]
    return tuple(WordImportance(token=word, importance=share) for word, share in zip(words, shares, strict=True))
