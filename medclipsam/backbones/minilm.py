"""The meaning of a sentence as 384 numbers: all-MiniLM-L6-v2 (Wang et al., NeurIPS 2020; Reimers and Gurevych, 2019).

The frozen text half of the embedded model. Its files come inside a registry package, are checked by SHA-256 in
`medclipsam.weights`, and are read from there alone. The encoder is BERT's (Devlin et al., NAACL 2019) in the few lines
that a frozen one needs: importing that of `transformers`, to the bits of which a test holds this one, takes longer than
segmenting a scan.

    text -> WordPiece -> word + kind + place -> 6 x (attention, MLP) -> mean over real tokens -> unit length
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.wordpieces import Unread, WordPieces

WIDTH = 384
HEADS = 12
LAYERS = 6
EPSILON = 1e-12
"""Epsilon of the layer normalisations."""


class SentenceEncoder:
    """Encode prompts to unit vectors.

    Args:
        folder: holds `model.safetensors` and `tokenizer.json`.
        device: where the model runs.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        state = load_file(folder / "model.safetensors")
        self.bert = Bert({name: tensor.to(device) for name, tensor in state.items()})
        self._pieces = WordPieces(folder)
        self._device = torch.device(device)

    def encode(self, texts: Sequence[str], batch: int = 64) -> Tensor:
        """(n, 384), unit length; padding is masked, so that batching changes nothing but rounding."""
        if not texts:
            return torch.zeros(0, WIDTH, device=self._device)
        return torch.cat([self._encode_batch(texts[start : start + batch]) for start in range(0, len(texts), batch)])

    def unread(self, text: str) -> Unread | None:
        """What `encode` leaves out at the end of a text; None if nothing."""
        return self._pieces.unread(text)

    def word_pieces(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(n, longest) ids, and which of them are real: the others are padding."""
        ids = self._pieces.ids(texts)
        longest = max(map(len, ids))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids], device=self._device)
        real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids], device=self._device)
        return padded, real.bool()

    @torch.inference_mode()
    def _encode_batch(self, texts: Sequence[str]) -> Tensor:
        ids, real = self.word_pieces(texts)
        return pooled(self.bert.hidden(ids, real), real)


def pooled(hidden: Tensor, real: Tensor) -> Tensor:
    """Last hidden states (n, length, width) -> (n, width): the mean of the real ones, at unit length."""
    kept = real.long()
    return F.normalize((hidden * kept[..., None]).sum(1) / kept.sum(1, keepdim=True), dim=-1)


class Bert:
    """The hidden states of a BERT, from tensors named as in its published checkpoints.

    Args:
        state: its tensors.
        heads: attention heads of a layer.
        layers: how many there are.
    """

    def __init__(self, state: Mapping[str, Tensor], heads: int = HEADS, layers: int = LAYERS) -> None:
        self._state, self._heads, self._layers = state, heads, layers
        self._width = [len(state["embeddings.LayerNorm.weight"])]  # a number also where an exporter traces

    def hidden(self, ids: Tensor, real: Tensor) -> Tensor:
        """Word pieces (n, length) -> (n, length, width); where `real` is False nobody looks."""
        return self.states(ids, real)[-1]

    def states(self, ids: Tensor, real: Tensor) -> list[Tensor]:
        """The same before the first layer and after each."""
        states = [self.embed(ids)]
        for layer in range(self._layers):
            states.append(self.advance(states[-1], real, layer, layer + 1))
        return states

    def embed(self, ids: Tensor) -> Tensor:
        """Word pieces (n, length) -> (n, length, width) before the first layer."""
        return self.placed(F.embedding(ids, self._state["embeddings.word_embeddings.weight"]))

    def placed(self, words: Tensor) -> Tensor:
        """The same from the rows of the word pieces (n, length, width)."""
        kinds, places = (self._state[f"embeddings.{of}_embeddings.weight"] for of in ("token_type", "position"))
        return self._norm("embeddings.LayerNorm", words + kinds[0] + places[: words.shape[1]])

    def advance(self, x: Tensor, real: Tensor, start: int, stop: int) -> Tensor:
        """Run layers start..stop-1; gradients flow."""
        mask = None if real.all() else real[:, None, None, :]
        for index in range(start, stop):
            x = self._layer(f"encoder.layer.{index}", x, mask)
        return x

    def _layer(self, name: str, x: Tensor, mask: Tensor | None) -> Tensor:
        mixed = self._linear(f"{name}.attention.output.dense", self._attend(f"{name}.attention.self", x, mask))
        x = self._norm(f"{name}.attention.output.LayerNorm", mixed + x)
        widened = F.gelu(self._linear(f"{name}.intermediate.dense", x))
        return self._norm(f"{name}.output.LayerNorm", self._linear(f"{name}.output.dense", widened) + x)

    def _attend(self, name: str, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            self._linear(f"{name}.{of}", x).unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for of in ("query", "key", "value")
        )
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self._state[f"{name}.weight"], self._state[f"{name}.bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, self._width, self._state[f"{name}.weight"], self._state[f"{name}.bias"], EPSILON)
