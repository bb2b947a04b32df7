"""The towers that come with the package, in lock step: the embedded CLIP's three blocks with MiniLM's last three.

    LiteMedSAM's encoder (kept) -> 64x64 features -> 16x16 tokens --block 0--> --block 1--> --block 2--> joint space
    MiniLM's first three layers (kept) -> word pieces            --layer 3-> --layer 4-> --layer 5-> mean -> joint space

Nearly all of their cost lies before the first adapter, where nothing is trained: each image and text passes it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from medclipsam.backbones.compact import COARSE, CompactTower
from medclipsam.backbones.compact_clip import load_tower
from medclipsam.backbones.minilm import LAYERS, WIDTH, SentenceEncoder, pooled
from medclipsam.backbones.sam import PromptableSegmenter
from medclipsam.backbones.sam_loading import load_sam
from medclipsam.backbones.tower import Unread
from medclipsam.networks.contract import Features, Inputs
from medclipsam.networks.medclipseg.settings import LastBlock
from medclipsam.networks.medclipseg.towers import Towers, Widths, Words
from medclipsam.runtime import gains_from_bf16, pick_dtype
from medclipsam.weights import find

ENCODER, TOWER, SENTENCES = "lite-medsam", "compact", "minilm"
FEATURES, STEPS, TOKENS, PIXELS = "features", "steps", "tokens", "pixels"
LEVELS = 127
"""Largest level of a feature in 8 bits; what a level is worth is told for each channel of each image."""


def load_embedded(device: torch.device, first: int) -> EmbeddedTowers:
    """Load all three, verified.

    Args:
        first: block, from 0, before which the first adapter stands.

    Raises:
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    found = {key: find(key) for key in (ENCODER, TOWER, SENTENCES)}
    fast = device.type == "cpu" and gains_from_bf16(device)
    sam = load_sam(ENCODER, device=device, dtype=torch.bfloat16 if fast else pick_dtype(device))
    hashes = {key: each.sha256 for key, each in found.items()}
    sentences = SentenceEncoder(found[SENTENCES].folder, device)
    return EmbeddedTowers(sam, load_tower(found[TOWER].file), sentences, hashes, first=first)


class EmbeddedTowers(Towers):
    """LiteMedSAM's encoder with the embedded CLIP, and MiniLM.

    Args:
        sam: its encoder alone is used.
        tower: the embedded CLIP; frozen here.
        sentences: on the same device.
        frozen: hashes of their files.
        first: see `load_embedded`.
    """

    def __init__(
        self,
        sam: PromptableSegmenter,
        tower: CompactTower,
        sentences: SentenceEncoder,
        frozen: Mapping[str, str],
        *,
        first: int,
    ) -> None:
        self._sam, self._sentences, self.frozen, self._first = sam, sentences, frozen, first
        self.tower = tower.eval().requires_grad_(False).to(sam.device)
        shape = tower.shape
        blocks = len(tower.blocks)
        self._first_layer = LAYERS - blocks
        self.widths = Widths(image=shape.width, text=WIDTH, joint=shape.embedding, grid=(COARSE, COARSE), blocks=blocks)
        self._read: dict[str, Tensor] = {}

    @property
    def encoding(self) -> str:
        """See `SupervisedNetwork.encoding`."""
        towers = f"{self.frozen[ENCODER]} and {self.frozen[TOWER]} to block {self._first}"
        return f"features of {towers}, {self._sam.dtype}, in 8 bits, with tokens and pixels"

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Features:
        """The encoder's features along the tower's axes in 8 bits, tokens before the first adapter, pixels as bytes."""
        features = torch.cat([self.tower.reduce(self._sam.encode(each[None])) for each in pixels])
        steps = features.abs().amax(dim=(1, 2)).clamp_min(1e-6) / LEVELS
        levels = (features / steps[:, None, None]).round().to(torch.int8)
        tokens = self.tower.tokens(features, self._first)
        return {FEATURES: levels, STEPS: steps, TOKENS: tokens.half(), PIXELS: (pixels * 255).round().to(torch.uint8)}

    def precision(self) -> AbstractContextManager[None]:
        """Number format of the encoder, which is half precision where the processor multiplies it."""
        is_half = self._sam.dtype == torch.bfloat16
        return torch.autocast(self._sam.device.type, torch.bfloat16) if is_half else nullcontext()

    def read_ahead(self, texts: Sequence[str]) -> None:
        """Keep what the first layers make of each text."""
        for text in texts:
            self._first_layers(text)

    def start_image(self, inputs: Inputs, first: int) -> Tensor:
        """See the contract; `first` is what the towers were loaded for."""
        return inputs.features[TOKENS].float()

    def start_text(self, texts: Sequence[str], first: int, *, padded: bool) -> Words:
        """See the contract; there is no fixed context to pad to."""
        ids, real = self._sentences.word_pieces(texts)
        tokens = torch.zeros(*ids.shape, WIDTH, device=ids.device)
        for row, text in enumerate(texts):
            known = self._first_layers(text)
            tokens[row, : len(known)] = known
        return Words(tokens=tokens, ids=ids, real=torch.ones_like(real) if padded else real)

    @torch.no_grad()
    def _first_layers(self, text: str) -> Tensor:
        """(m, width) of one text, each computed once."""
        if text not in self._read:
            ids, real = self._sentences.word_pieces([text])
            bert = self._sentences.bert
            self._read[text] = bert.advance(bert.embed(ids), real, 0, self._first_layer + self._first)[0]
        return self._read[text]

    def image_block(self, index: int, tokens: Tensor) -> Tensor:
        """See the contract."""
        return self.tower.advance(tokens, index, index + 1)

    def last_image_block(self, tokens: Tensor, how: LastBlock) -> Tensor:
        """See the contract; `how` makes no difference here."""
        return self.image_block(self.widths.blocks - 1, tokens)

    def text_block(self, index: int, tokens: Tensor, words: Words) -> Tensor:
        """See the contract."""
        real = words.real.repeat(len(tokens) // len(words.real), 1)
        return self._sentences.bert.advance(tokens, real, self._first_layer + index, self._first_layer + index + 1)

    def patches(self, tokens: Tensor) -> Tensor:
        """See the contract: what the embedded CLIP pools, patch by patch."""
        return self.tower.pooled(self.tower.norm(tokens))

    def sentence(self, tokens: Tensor, words: Words) -> Tensor:
        """See the contract."""
        real = words.real.repeat(len(tokens) // len(words.real), 1)
        return self.tower.embed_text(pooled(tokens, real))

    def unread(self, text: str) -> Unread | None:
        """See the contract."""
        return self._sentences.unread(text)


def pixels_of(inputs: Inputs) -> Tensor:
    """(I, 3, side, side) in [0, 1], from bytes."""
    return inputs.features[PIXELS].float() / 255


def features_of(inputs: Inputs) -> Tensor:
    """(I, 64, 64, 128), from 8 bits."""
    return inputs.features[FEATURES].float() * inputs.features[STEPS][:, None, None]
