"""Segment Anything: the pixels of the object in a box, or under points, by one slow step and many fast ones.

    set_image (slow, once for an image) -> ImageEmbedding -> predict (fast, once for a set of prompts) -> SamMasks

One class for Segment Anything ViT-B, ViT-L and ViT-H (Kirillov et al., ICCV 2023), MedSAM (Ma et al., Nature
Communications 2024) and LiteMedSAM (bowang-lab, 2024). MedSAM and LiteMedSAM were trained with boxes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from medclipsam.backbones.sam_encoding import ImageEmbedding, SamEncoder
from medclipsam.backbones.sam_masks import SamMasks
from medclipsam.backbones.sam_prompts import SquarePrompts, to_square
from medclipsam.runtime import one_thread
from medclipsam.types import Box, Points

PROMPTS_AT_ONCE = 32


class PromptableSegmenter(SamEncoder):
    """Segment Anything in two steps, computed by torch; see `Promptable`.

    Args:
        network, framing, name, sha256, device, dtype, cache: see `SamEncoder`. Prompts and masks are always computed in
            single precision.
    """

    engine = "torch"

    @cached_property
    def _position(self) -> Tensor:
        """The prompt encoder's code of each place of the grid, which no prompt changes."""
        return self.network.prompt_encoder.get_dense_pe()

    @torch.no_grad()
    def predict(
        self,
        embedding: ImageEmbedding,
        boxes: Sequence[Box] = (),
        points: Points | None = None,
        multimask: bool = False,
    ) -> SamMasks:
        """Segment what the prompts show.

        Args:
            embedding: from `set_image`.
            boxes: pixel edges in the native image; each gives one mask, and is cut to the image.
            points: pixel centres in the native image; with boxes they are repeated for each box, alone they give one
                mask together.
            multimask: let the model propose three masks for each prompt and take the one with the best predicted IoU.

        Raises:
            BadInput: neither box nor point, or one that lies outside the image.
        """
        prompts = to_square(boxes, points, embedding.placement)
        with one_thread():
            parts = [self._decode(embedding, some, multimask) for some in prompts.split(PROMPTS_AT_ONCE)]
        return SamMasks(
            logits=torch.cat([logits for logits, _ in parts]).numpy(),
            scores=torch.cat([scores for _, scores in parts]).numpy(),
        )

    def _decode(self, embedding: ImageEmbedding, prompts: SquarePrompts, multimask: bool) -> tuple[Tensor, Tensor]:
        """(n, height, width) logits and (n,) scores, on the CPU."""
        sparse, dense = self.network.prompt_encoder(**prompts.on(self.device))
        logits, scores = self.network.mask_decoder(
            image_embeddings=embedding.features,
            image_pe=self._position,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        best = scores.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        native = embedding.placement.to_native(logits[rows, best][:, None])
        return native.cpu(), scores[rows, best].cpu()
