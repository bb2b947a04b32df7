"""Takes the text towers of open_clip apart into embedding, blocks and head: two families, one interface.

    ids --embed--> states --block 0--> ... --block L--> ... --last block--> states --head--> embedding

A BERT from transformers (BiomedCLIP's PubMedBERT) sees both ways and hides padding behind a mask; open_clip's own
transformer sees backwards only, so that what pads the end changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.transformer import TextTransformer, text_global_pool
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from medclipsam.errors import BadInput


@dataclass(frozen=True, eq=False, kw_only=True)
class TextTower:
    """The parts of a text tower in the order in which they run."""

    padding: int
    """The id that fills up a row."""
    embed: Callable[[Tensor], Tensor]
    """ids (n, length) -> (n, length, width)."""
    blocks: Sequence[nn.Module]
    step: Callable[[nn.Module, Tensor, Tensor | None], Tensor]
    """A block, states and mask -> states."""
    mask: Callable[[Tensor], Tensor | None]
    """ids (n, length) -> what to add to the attention logits; None where every token sees every other."""
    head: Callable[[Tensor, Tensor], Tensor]
    """(n, length, width) after the last block and ids (n, length) -> (n, D)."""

    def trimmed(self, ids: Tensor) -> Tensor:
        """Without the columns after the last token of the longest row."""
        used = (ids != self.padding).any(dim=0).nonzero()
        return ids[:, : int(used.max()) + 1]

    def advance(self, states: Tensor, ids: Tensor, start: int, stop: int) -> Tensor:
        """Run blocks start..stop-1."""
        mask = self.mask(ids)
        for block in self.blocks[start:stop]:
            states = self.step(block, states, mask)
        return states

    def encode(self, ids: Tensor) -> Tensor:
        """ids (n, length) -> (n, D): all of the tower."""
        return self.head(self.advance(self.embed(ids), ids, 0, len(self.blocks)), ids)


def text_tower(text: nn.Module) -> TextTower:
    """Take an open_clip text tower apart.

    Raises:
        BadInput: it is neither a BERT nor open_clip's own transformer.
    """
    if isinstance(text, HFTextEncoder) and hasattr(getattr(text.transformer, "encoder", None), "layer"):
        return _of_bert(text)
    if isinstance(text, TextTransformer) and text.cls_emb is None and not text.use_pad_mask:
        return _of_open_clip(text)
    raise BadInput(f"the text tower is a {type(text).__name__}", "use a CLIP with a BERT or open_clip's own text tower")


def _of_bert(text: HFTextEncoder) -> TextTower:
    padding = text.config.pad_token_id

    def mask(ids: Tensor) -> Tensor | None:
        hidden = (ids == padding)[:, None, None, :]
        if not hidden.any():
            return None
        return torch.zeros(hidden.shape, device=ids.device).masked_fill(hidden, torch.finfo(torch.float32).min)

    def head(states: Tensor, ids: Tensor) -> Tensor:
        return text.proj(text.pooler(BaseModelOutput(last_hidden_state=states), (ids != padding).long()))

    return TextTower(
        padding=padding,
        embed=lambda ids: text.transformer.embeddings(input_ids=ids),
        blocks=list(text.transformer.encoder.layer),
        step=lambda block, states, mask: block(states, mask),
        mask=mask,
        head=head,
    )


def _of_open_clip(text: TextTransformer) -> TextTower:
    def mask(ids: Tensor) -> Tensor | None:
        return None if text.attn_mask is None else text.attn_mask[: ids.shape[1], : ids.shape[1]]

    def head(states: Tensor, ids: Tensor) -> Tensor:
        pooled = text_global_pool(text.ln_final(states), ids, text.pool_type, text.eos_id)
        if text.text_projection is None:
            return pooled
        is_linear = isinstance(text.text_projection, nn.Linear)
        return text.text_projection(pooled) if is_linear else pooled @ text.text_projection

    return TextTower(
        padding=text.pad_id,
        embed=lambda ids: text._embeds(ids)[0],
        blocks=list(text.transformer.resblocks),
        step=lambda block, states, mask: block(states, attn_mask=mask),
        mask=mask,
        head=head,
    )
