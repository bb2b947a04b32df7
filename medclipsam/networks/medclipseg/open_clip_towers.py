"""The towers of an open_clip model in lock step, such as BiomedCLIP's, UniMedCLIP's and OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from open_clip.model import CustomTextCLIP
from torch import Tensor, nn

from medclipsam.backbones import architecture
from medclipsam.backbones.clip import fill, find_checkpoint
from medclipsam.backbones.layouts import to_open_clip
from medclipsam.backbones.texttower import text_tower
from medclipsam.backbones.tower import Unread
from medclipsam.backbones.vision import vision_tower
from medclipsam.errors import BadInput
from medclipsam.networks.contract import Inputs
from medclipsam.networks.medclipseg.settings import ColourOrder, LastBlock, MedClipSegSettings
from medclipsam.networks.medclipseg.towers import Towers, Widths, Words
from medclipsam.weights import digest, find, known
from medclipsam.weights.loading import load_state


class OpenClipTowers(Towers):
    """The towers of an open_clip model with as many image blocks as text blocks.

    Args:
        network: frozen here, in evaluation mode: dropout of a BERT would otherwise be active in training, as it is in
            the released code.
        tokenizer: of its text tower.
        frozen: hashes of its files.
        colours: order in which it sees them.

    Raises:
        BadInput: towers of different depth, or of a kind that cannot be cut.
    """

    def __init__(
        self,
        network: CustomTextCLIP,
        tokenizer: architecture.Tokenizer,
        frozen: Mapping[str, str],
        colours: ColourOrder = "rgb",
    ) -> None:
        self.frozen, self._colours = frozen, colours
        self._network = network.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._vision, self._text = vision_tower(network.visual), text_tower(network.text)
        if len(self._vision.blocks) != len(self._text.blocks):
            depths = f"{len(self._vision.blocks)} and {len(self._text.blocks)}"
            raise BadInput(f"towers of {depths} blocks do not run in lock step", "use a CLIP with as many of both")
        self.side = self._vision.side
        self._mean = torch.tensor(network.visual.image_mean).view(3, 1, 1)
        self._deviation = torch.tensor(network.visual.image_std).view(3, 1, 1)
        self.widths = self._measured()

    @torch.no_grad()
    def _measured(self) -> Widths:
        side, device = self._vision.side, next(self._network.parameters()).device
        tokens = self._vision.embed(torch.zeros(1, 3, side, side, device=device))
        words = self.start_text([""], 0, padded=False)
        return Widths(
            image=tokens.shape[-1],
            text=words.tokens.shape[-1],
            joint=self._vision.patches(tokens).shape[-1],
            grid=self._vision.grid,
            blocks=len(self._vision.blocks),
        )

    def start_image(self, inputs: Inputs, first: int) -> Tensor:
        """See the contract."""
        pixels = inputs.pixels if self._colours == "rgb" else inputs.pixels.flip(1)
        tokens = self._vision.embed((pixels - self._mean.to(pixels)) / self._deviation.to(pixels))
        return self._vision.advance(tokens, 0, first)

    def start_text(self, texts: Sequence[str], first: int, *, padded: bool) -> Words:
        """See the contract."""
        ids = self._tokenizer(texts).to(next(self._network.parameters()).device)
        ids = ids if padded else self._text.trimmed(ids)
        tokens = self._text.advance(self._text.embed(ids), ids, 0, first)
        return Words(tokens=tokens, ids=ids, real=self._real(ids))

    def _real(self, ids: Tensor) -> Tensor:
        """The id that pads open_clip's own texts is a word as well; there padding is what follows the last mark."""
        if self._text.padding:
            return ids != self._text.padding
        last = (ids == ids.amax(dim=1, keepdim=True)).int().argmax(dim=1)
        places = torch.arange(ids.shape[1], device=ids.device)
        return (ids != self._text.padding) | (places <= last[:, None])

    def image_block(self, index: int, tokens: Tensor) -> Tensor:
        """See the contract."""
        return self._vision.advance(tokens, index, index + 1)

    def text_block(self, index: int, tokens: Tensor, words: Words) -> Tensor:
        """See the contract."""
        ids = words.ids.repeat(len(tokens) // len(words.ids), 1)
        return self._text.advance(tokens, ids, index, index + 1)

    def last_image_block(self, tokens: Tensor, how: LastBlock) -> Tensor:
        """See the contract."""
        last = self._vision.blocks[-1]
        return _values_alone(last, tokens) if how == "values" else self.image_block(self.widths.blocks - 1, tokens)

    def patches(self, tokens: Tensor) -> Tensor:
        """See the contract."""
        return self._vision.patches(tokens)

    def sentence(self, tokens: Tensor, words: Words) -> Tensor:
        """See the contract."""
        return self._text.head(tokens, words.ids.repeat(len(tokens) // len(words.ids), 1))

    def unread(self, text: str) -> Unread | None:
        """See the contract."""
        return self._tokenizer.unread(text)


def _values_alone(block: nn.Module, tokens: Tensor) -> Tensor:
    """What a block's values become if nothing is mixed, without residual and MLP (MaskCLIP, Zhou et al., ECCV 2022).

    Raises:
        BadInput: a block of another kind than open_clip's.
    """
    attention = getattr(block, "attn", None)
    if not isinstance(attention, nn.MultiheadAttention) or attention.in_proj_weight is None:
        raise BadInput("last_block = values needs open_clip's own image tower", "use last_block = whole")
    width = attention.embed_dim
    weight, bias = attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
    return attention.out_proj(nn.functional.linear(block.get_submodule("ln_1")(tokens), weight, bias))


def _folder(settings: MedClipSegSettings) -> Path:
    """Where configuration, tokenizer and weights of the towers lie.

    Raises:
        BadInput: towers that no table of weights knows, and no folder.
    """
    if settings.folder:
        return Path(settings.folder)
    if settings.towers not in known():
        told = "open_clip_config.json, the tokenizer's files and the weights"
        raise BadInput(f"the weights of {settings.towers} are not fetched", f"give --set folder=FOLDER with {told}")
    return find(settings.towers).folder


def load_open_clip(settings: MedClipSegSettings, device: torch.device) -> OpenClipTowers:
    """The towers of an open_clip model, with their weights.

    Raises:
        BadInput: towers that see another square.
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    folder = _folder(settings)
    checkpoint = find_checkpoint(folder)
    network = architecture.build(folder, draw=False)
    fill(network, to_open_clip(load_state(checkpoint)), checkpoint.name)
    towers = OpenClipTowers(
        network.to(device), architecture.Tokenizer(folder), {settings.towers: digest(checkpoint)}, settings.colours
    )
    if towers.side != settings.side:
        raise BadInput(f"these towers see {towers.side} pixels", f"use --set side={towers.side}")
    return towers
