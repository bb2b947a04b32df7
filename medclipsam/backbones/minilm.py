"""What does a sentence mean, as 384 numbers? all-MiniLM-L6-v2 (Wang et al., NeurIPS 2020; Reimers and Gurevych, 2019).

The frozen text half of the embedded model: WordPiece, six BERT layers, the mean over real tokens, unit length. Its
files come inside a registry package, are checked by SHA-256 in `medclipsam.weights`, and are read from there alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

WIDTH = 384
CONTEXT = 128
UNUSED = ("pooler.", "embeddings.position_ids")


class SentenceEncoder:
    """Encode prompts to unit vectors.

    Args:
        folder: holds `config.json`, `model.safetensors` and `tokenizer.json`.
        device: where the model runs.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        from transformers.models.bert.modeling_bert import BertConfig, BertModel  # noqa: PLC0415  (slow: on first use)

        self._model = BertModel(BertConfig.from_json_file(str(folder / "config.json")), add_pooling_layer=False)
        state = load_file(folder / "model.safetensors")
        self._model.load_state_dict({name: value for name, value in state.items() if not name.startswith(UNUSED)})
        self._model.eval().requires_grad_(False).to(device)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(CONTEXT)
        self._tokenizer.no_padding()
        self._device = torch.device(device)

    def encode(self, texts: Sequence[str], batch: int = 64) -> Tensor:
        """(n, 384), unit length; padding is masked, so that batching changes nothing but rounding."""
        if not texts:
            return torch.zeros(0, WIDTH, device=self._device)
        return torch.cat([self._encode_batch(texts[start : start + batch]) for start in range(0, len(texts), batch)])

    @torch.inference_mode()
    def _encode_batch(self, texts: Sequence[str]) -> Tensor:
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        longest = max(map(len, ids))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids], device=self._device)
        real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids], device=self._device)
        hidden = self._model(input_ids=padded, attention_mask=real).last_hidden_state
        mean = (hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        return F.normalize(mean, dim=-1)
