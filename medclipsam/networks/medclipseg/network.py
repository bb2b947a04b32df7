"""MedCLIPSeg as a supervised network: adapters and head are trained, both towers stay as they are.

    (1, rows, tokens, width) --blocks before the first adapter, once--> --adapters with noise--> (samples, rows, ...)

Samples share each pass of the frozen blocks; what lies before the first noise is computed once for all of them. Each
sample has a generator of its own, so that it does not matter which of them share a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from medclipsam.backbones.tower import Unread
from medclipsam.networks.contract import Batch, Features, Inputs, SupervisedNetwork
from medclipsam.networks.losses import mask_losses, masks_like
from medclipsam.networks.medclipseg.attention import Adapter, Noise, drawn_noise, fresh_noise, no_noise
from medclipsam.networks.medclipseg.contrast import rowwise_dice, soft_contrast
from medclipsam.networks.medclipseg.heads import Beside, Head
from medclipsam.networks.medclipseg.settings import MedClipSegSettings
from medclipsam.networks.medclipseg.towers import Towers, Words


@dataclass(frozen=True, eq=False, kw_only=True)
class Start:
    """What no noise changes."""

    image: Tensor
    """(1, R, n, width) before the first adapter."""
    text: Tensor
    """(1, R, m, width) before the first adapter."""
    words: Words
    beside: Beside
    """What the head takes of the frozen features and the pixels of each row."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer:
    """What one pass comes to."""

    logits: Tensor
    """(samples, R, side, side)."""
    patches: Tensor
    """(samples, R, rows * columns, joint)."""
    sentence: Tensor
    """(samples, R, joint)."""


class MedClipSeg(SupervisedNetwork):
    """Frozen towers in lock step, probabilistic adapters between them, and a head.

    Args:
        towers: on their device.
        head: from adapted patches and sentence to logits.

    Raises:
        ValueError: an adapter before a block that the towers do not have.
    """

    def __init__(self, settings: MedClipSegSettings, towers: Towers, head: Callable[[], Head]) -> None:
        super().__init__()
        self.side, self.is_random = settings.side, settings.noise
        self._settings = settings
        self._held = (towers,)  # in a tuple: no part of the module tree
        widths = towers.widths
        if max(settings.layers) >= widths.blocks:
            raise ValueError(f"layers {settings.layers} of towers with {widths.blocks} blocks")
        self.pvl_adapters = nn.ModuleList(
            Adapter(widths.image, widths.text, settings.adapter_width, beta=settings.beta, gate=settings.gate)
            for _ in settings.layers
        )
        if settings.silent_start:
            for adapter in self.pvl_adapters:
                cast(Adapter, adapter).silence()
        self.head = head()

    @property
    def towers(self) -> Towers:
        """The frozen towers."""
        return self._held[0]

    @property
    def frozen(self) -> Mapping[str, str]:
        """See the contract."""
        return self.towers.frozen

    @property
    def encoding(self) -> str:
        """See the contract."""
        return self.towers.encoding

    def encode(self, pixels: Tensor) -> Features:
        """See the contract."""
        return self.towers.encode(pixels)

    def learn_from(self, texts: Sequence[str]) -> None:
        """See the contract."""
        self.towers.read_ahead(texts)

    def unread(self, text: str) -> Unread | None:
        """See the contract."""
        return self.towers.unread(text)

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Dice, cross-entropy and the soft contrast, weighted (MedCLIPSeg, eq. 23)."""
        settings = self._settings
        with _plain_attention(batch.masks.device):
            answer = self._finish(self._start(batch), fresh_noise if settings.noise else no_noise)
        logits, masks = answer.logits[0], masks_like(answer.logits[0], batch.masks)
        parts = dict(mask_losses(logits, masks, settings.dice_weight, settings.entropy_weight))
        if settings.dice == "rowwise":
            rows = rowwise_dice(logits.sigmoid(), masks)
            parts["loss"] = parts["loss"] + settings.dice_weight * (rows - parts["dice_loss"])
        if settings.contrast_weight:
            released = settings.contrast == "released"
            patches, sentence = answer.patches[0], answer.sentence[0]
            parts["contrast_loss"] = soft_contrast(patches, sentence, settings.temperature, released=released)
            parts["loss"] = parts["loss"] + settings.contrast_weight * parts["contrast_loss"]
        return parts

    def probability(self, inputs: Inputs, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """See the contract; the mean of a logit's values where the noise is left out."""
        with self.towers.precision():
            start = self._start(inputs)
            if generator is None or not self._settings.noise:
                return self._finish(start, no_noise).logits.sigmoid().expand(samples, -1, -1, -1)
            noises = self._noises(samples, generator)
            return torch.cat([self._finish(start, noise).logits.sigmoid() for noise in noises])

    def one_pass(self, inputs: Inputs, noise: Noise) -> Tensor:
        """(samples of the noise, R, rows, columns): one pass from the pixels on, with a noise of the caller's."""
        return self._finish(self._start(inputs), noise).logits.sigmoid()

    def _noises(self, samples: int, generator: torch.Generator) -> Iterator[Noise]:
        """The noise of those samples that share a pass."""
        seeds = torch.randint(2**62, (samples,), generator=generator).tolist()
        is_cpu = next(self.parameters()).device.type == "cpu"
        together = self._settings.samples_at_once if is_cpu else samples
        for first in range(0, samples, together):
            yield drawn_noise([torch.Generator().manual_seed(seed) for seed in seeds[first : first + together]])

    def _start(self, inputs: Inputs) -> Start:
        """Both streams before the first adapter, and what the head takes from there."""
        first, towers = min(self._settings.layers), self.towers
        with torch.no_grad():
            words = towers.start_text(inputs.texts, first, padded=not self._settings.mask_pads)
            image = towers.start_image(inputs, first)
        chosen = image if len(image) == len(inputs.image_of) else image[inputs.image_of]
        return Start(image=chosen[None], text=words.tokens[None], words=words, beside=self.head.beside(inputs))

    def _finish(self, start: Start, noise: Noise) -> Answer:
        """The adapted blocks and the head."""
        towers, blocks = self.towers, self.towers.widths.blocks
        adapters = dict(zip(self._settings.layers, self.pvl_adapters, strict=True))
        image, text = start.image, start.text
        real = start.words.real if self._settings.mask_pads else None
        for index in range(min(adapters), blocks):
            if index in adapters:
                of_image, of_text = adapters[index](image, text, noise, real)
                image, text = image + of_image, text + of_text
            image = _folded(image, self._image_step(index))
            text = _folded(text, partial(self._text_step, index, start.words))
        patches = _folded(image, towers.patches)
        sentence = _folded(text, lambda tokens: towers.sentence(tokens, start.words))
        logits = self.head(image, patches, sentence, start.beside)
        return Answer(logits=logits, patches=patches, sentence=sentence)

    def _image_step(self, index: int) -> Callable[[Tensor], Tensor]:
        towers = self.towers
        if index == towers.widths.blocks - 1:
            return lambda tokens: towers.last_image_block(tokens, self._settings.last_block)
        return lambda tokens: towers.image_block(index, tokens)

    def _text_step(self, index: int, words: Words, tokens: Tensor) -> Tensor:
        return self.towers.text_block(index, tokens, words)


def _plain_attention(device: torch.device) -> AbstractContextManager[None]:
    """On a CPU the gradient of fused attention takes longer than that of its parts."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def _folded(tokens: Tensor, step: Callable[[Tensor], Tensor]) -> Tensor:
    """Take (samples, R, ...) through a step that knows one leading dimension."""
    return step(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
