"""Frozen text encoders of the supervised networks: one vector for each text, MiniLM's or that of a BERT like CXR-BERT.

    text -> word pieces -> BERT -> mean over tokens of the states after layers 1, 2 and the last     (CXR-BERT, 768)
    text -> MiniLM                                                                                   (384)

CXR-BERT (Boecking et al., ECCV 2022) as BiCLIP's released code reads it: 32 word pieces, padding among those whose mean
is taken. Only `model.safetensors` and the tokenizer are read, without the remote code that its model card asks for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from medclipsam.backbones.minilm import WIDTH, Bert, SentenceEncoder
from medclipsam.backbones.tower import Unread
from medclipsam.errors import BadInput, MissingWeights
from medclipsam.weights import digest, find

CONTEXT = 32
"""Word pieces of a text that CXR-BERT is given, and padded to."""
MOST_KNOWN = 20_000
"""Texts whose vectors are remembered, some 30 MB; then all are forgotten, for a server runs for months."""
WEIGHTS = "model.safetensors"
CONFIG, TOKENIZER = "config.json", "tokenizer.json"


class FrozenTexts:
    """Vectors of texts, each computed once.

    Args:
        read: texts -> (n, width).
        width: length of a vector.
        hashes: SHA-256 of each file that has a say, by name.
        unread: what is left out at the end of a text.
    """

    def __init__(
        self,
        read: Callable[[Sequence[str]], Tensor],
        width: int,
        hashes: Mapping[str, str],
        unread: Callable[[str], Unread | None] = lambda _: None,
    ) -> None:
        self._read, self.width, self.hashes, self.unread = read, width, hashes, unread
        self._known: dict[str, Tensor] = {}

    def remember(self, texts: Sequence[str]) -> None:
        """Read those that are new, one by one, so that the company of a text changes nothing."""
        with torch.no_grad():
            for text in dict.fromkeys(texts):
                if text not in self._known:
                    self._known[text] = self._read([text])[0].float().clone()

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(n, width), without gradients."""
        if len(self._known) > MOST_KNOWN:
            self._known.clear()
        self.remember(texts)
        return torch.stack([self._known[text] for text in texts])


def load_frozen_texts(folder: str, device: torch.device) -> FrozenTexts:
    """MiniLM where no folder is named, else the BERT of that folder.

    Raises:
        MissingWeights: the folder lacks a file; for MiniLM see `medclipsam.weights.find`.
        BadInput: its files are no BERT.
    """
    if not folder:
        found = find("minilm")
        encoder = SentenceEncoder(found.folder, device)
        return FrozenTexts(encoder.encode, WIDTH, {"minilm": found.sha256}, encoder.unread)
    return _load_bert(Path(folder), device)


def _load_bert(folder: Path, device: torch.device) -> FrozenTexts:
    missing = [name for name in (CONFIG, WEIGHTS, TOKENIZER) if not (folder / name).is_file()]
    if missing:
        raise MissingWeights(f"{folder} lacks {', '.join(missing)}", "put the files of CXR-BERT there, as safetensors")
    try:
        shape = json.loads((folder / CONFIG).read_text("utf-8"))
        state = load_file(folder / WEIGHTS)
        bare = {_bare(name): value.to(device) for name, value in state.items()}
        bert = Bert(bare, int(shape["num_attention_heads"]), int(shape["num_hidden_layers"]))
        width = int(shape["hidden_size"])
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # tokenizers raises bare exceptions
        raise BadInput(f"{folder.name} holds no BERT in the layout of CXR-BERT", str(error)[:120]) from error
    tokenizer.enable_truncation(CONTEXT)
    tokenizer.enable_padding(length=CONTEXT, pad_id=int(shape.get("pad_token_id") or 0))
    read = partial(_pooled, bert, tokenizer, device)
    return FrozenTexts(read, width, {folder.name: digest(folder / WEIGHTS)}, partial(_unread, tokenizer))


def _bare(name: str) -> str:
    """Without the prefix of a BERT that was saved with heads on it."""
    return name.removeprefix("bert.")


def _pooled(bert: Bert, tokenizer: Tokenizer, device: torch.device, texts: Sequence[str]) -> Tensor:
    encodings = tokenizer.encode_batch(list(texts))
    ids = torch.tensor([encoding.ids for encoding in encodings], device=device)
    real = torch.tensor([encoding.attention_mask for encoding in encodings], device=device).bool()
    states = bert.states(ids, real)
    return torch.stack([states[1], states[2], states[-1]]).mean(dim=(0, 2))


def _unread(tokenizer: Tokenizer, text: str) -> Unread | None:
    rest = sum(part.special_tokens_mask.count(0) for part in tokenizer.encode(text).overflowing)
    return Unread(CONTEXT, rest) if rest else None
