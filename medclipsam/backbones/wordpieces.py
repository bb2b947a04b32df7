"""Cuts a prompt into the word pieces of MiniLM, and looks up the row of each; no torch here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import safe_open
from tokenizers import Tokenizer

from medclipsam.types import FloatArray

CONTEXT = 128
TABLE = "embeddings.word_embeddings.weight"


class Unread(NamedTuple):
    """The part of a prompt that a text tower does not read."""

    context: int
    """How many tokens it reads, marks of start and end among them."""
    tokens: int
    """How many at the end it leaves out."""


class WordPieces:
    """The tokenizer of all-MiniLM-L6-v2, and its table of word pieces.

    Args:
        folder: holds `model.safetensors` and `tokenizer.json`.
    """

    def __init__(self, folder: Path) -> None:
        self._tensors = folder / "model.safetensors"
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(CONTEXT)
        self._tokenizer.no_padding()

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The numbers of the pieces of each text, with marks of start and end; at most 128."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]

    def rows(self, ids: Sequence[int]) -> FloatArray:
        """(n, 384): the row of each piece; of the 47 MB of the table nothing else is read."""
        with safe_open(self._tensors, framework="numpy") as file:
            table = file.get_slice(TABLE)
            return np.concatenate([table[number : number + 1] for number in ids])

    def unread(self, text: str) -> Unread | None:
        """What is left out at the end of a text; None if nothing."""
        rest = sum(part.special_tokens_mask.count(0) for part in self._tokenizer.encode(text).overflowing)
        return Unread(CONTEXT, rest) if rest else None
