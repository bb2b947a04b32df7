"""The embedded CLIP: LiteMedSAM, MiniLM and the trained towers as one model of images and texts.

    image -> LiteMedSAM encoder (shared with the mask decoder) -> CompactTower <- MiniLM <- text

It keeps to `ImageTextModel`, so that M2IB and Grad-CAM run on it, and adds what the dense explainer asks: one embedding
for each cell of the grid, and a calibrated presence.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.compact import COARSE, CompactShape, CompactTower, Seen
from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.backbones.sam import PromptableSegmenter
from medclipsam.backbones.tower import checked_layer
from medclipsam.backbones.vocabulary import Vocabulary
from medclipsam.backbones.wordpieces import Unread
from medclipsam.config import FitKind
from medclipsam.errors import BadInput
from medclipsam.runtime import one_thread
from medclipsam.types import Familiar, MedImage
from medclipsam.weights.loading import unfilled

TEMPERATURE = 0.03
"""Temperature of the cosines between sentences, chosen on the taught wordings, each left out in turn."""
OTHER_SIDE = 0.4
"""How much less near, in cosines, a known sentence is to a text that says the other side: the least from which taught
wordings, a tenth left out in turn, gain no more (`benchmarks/vocabulary.py`). Exported text graphs hold it."""
AGREEMENT = 16
"""Power of its cosine with the mean by which a sentence counts in what its target means: what the head makes of a word
that it never learned from does not move the others. Chosen on validation images, by a script: with 4,200 words that the
head never learned from, the Dice of the maps stays at 0.580; by a plain mean it is 0.577, by a power of 4 0.579."""
STRANGE, FAMILIAR = 0.5, 0.6
"""Cosine with the nearest known sentence below which the head alone reads a text, and above which the known ones do."""

HEARD = "whole maps"
"""What the heads of a file hear of its pixel network; of those before, they heard the coarse half of its maps alone."""
PIXELS, STEP = "pixels.", ".step"
"""What the names of the pixel network's tensors begin with; and end of the name of what a step of 8 bits is worth."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CompactView:
    """One image before any text."""

    seen: Seen
    """By the tower."""


class KnownTexts:
    """The sentences that a tower was taught, each read once; other wordings are read by kernel regression over them.

    The text head is sure of its training sentences and reads others less well. So a text takes the mean of what the
    known ones mean, weighted by how near they lie to it (Nadaraya 1964, Watson 1964); a text that is near to none is
    left to the head. All that names one target means the same: what the head makes of most of it. For a sentence
    encoder, left and right are nearly the same word: known ones that say the other side count as less near.

    Args:
        tower: frozen; one that knows none reads with its head alone.
        other_side: see `OTHER_SIDE`.
    """

    @torch.no_grad()
    def __init__(self, tower: CompactTower, *, other_side: float = OTHER_SIDE) -> None:
        self._tower, self._other_side = tower, other_side
        self._keys = F.normalize(tower.known, dim=-1)
        self.values = _one_meaning(F.normalize(tower.embed_text(tower.known), dim=-1), tower.named)
        """(n, embedding), unit length: what each known sentence means."""
        self._sides = self._side(self._keys)

    @torch.no_grad()
    def read(self, sentences: Tensor) -> Tensor:
        """(n, 384) sentence vectors -> (n, embedding), unit length."""
        alone = F.normalize(self._tower.embed_text(sentences), dim=-1)
        if not len(self._keys):
            return alone
        vectors = F.normalize(sentences, dim=-1)
        nearness = vectors @ self._keys.T
        apart = (self._side(vectors)[:, None] * self._sides).clamp(max=0)
        weights = ((nearness + self._other_side * apart) / TEMPERATURE).softmax(dim=-1)
        share = ((nearness.amax(dim=-1, keepdim=True) - STRANGE) / (FAMILIAR - STRANGE)).clamp(0, 1)
        return F.normalize(torch.lerp(alone, F.normalize(weights @ self.values, dim=-1), share), dim=-1)

    def _side(self, vectors: Tensor) -> Tensor:
        """(n, 384) of unit length -> (n,) in [-1, 1]: how much they seem to say left, below 0 right."""
        return (vectors @ self._tower.says_left).clamp(-1, 1)


class CompactClip:
    """The embedded model, frozen.

    Args:
        sam: a LiteMedSAM; its encoder and its cache of image embeddings are shared.
        tower: the trained part.
        sentences: the frozen sentence encoder.
        identity: SHA-256 of the trained part.
        vocabulary: the words that it was taught; None where that is not known.
    """

    prefix_tokens = 0
    grid = (COARSE, COARSE)

    def __init__(
        self,
        sam: PromptableSegmenter,
        tower: CompactTower,
        sentences: SentenceEncoder,
        *,
        identity: str,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        self.side = sam.framing.side
        self.blocks = tower.shape.blocks
        self.device = sam.device
        self.identity = identity
        self._sam = sam
        self._tower = tower.eval().requires_grad_(False).to(sam.device)
        self._sentences = sentences
        self._known = KnownTexts(self._tower)
        self._vocabulary = vocabulary

    def prepare(self, image: MedImage, fit: FitKind) -> Tensor:
        """(3, side, side); the encoder was trained on letterboxed images alone.

        Raises:
            BadInput: another fit.
        """
        if fit != "letterbox":
            raise BadInput(f"the embedded model cannot {fit} an image", "use letterbox")
        return self._sam.frame(image)[0]

    def tokens(self, image: MedImage, fit: FitKind, layer: int) -> Tensor:
        """(1, 256, width) after block `layer`; the encoder's pass is shared with the mask."""
        self.prepare(image, fit)
        return self._tower.tokens(
            self._tower.reduce(self._sam.set_image(image).features), checked_layer(layer, self.blocks) + 1
        )

    @torch.no_grad()
    def lower(self, pixels: Tensor, layer: int) -> Tensor:
        """(B, 3, side, side) -> (B, 256, width) after block `layer`."""
        return self._tower.tokens(self._tower.reduce(self._sam.encode(pixels)), checked_layer(layer, self.blocks) + 1)

    def upper(self, tokens: Tensor, layer: int) -> Tensor:
        """(B, 256, width) after block `layer` -> (B, embedding)."""
        start = checked_layer(layer, self.blocks) + 1
        return self._tower.pool(self._tower.advance(tokens, start, self.blocks))

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """(n, embedding), one prompt at a time, so that its company changes nothing."""
        rows = [self._known.read(self._sentences.encode([prompt])) for prompt in prompts]
        return torch.cat(rows) if rows else torch.zeros(0, self._tower.shape.embedding, device=self.device)

    def familiar(self, prompts: Sequence[str]) -> Familiar | None:
        """Whether the model was taught what one of these wordings of a thing names; None where that is not known."""
        if self._vocabulary is None:
            return None
        judged = [
            self._vocabulary.familiar(prompt, self._sentences.encode([prompt])[0].cpu().numpy()) for prompt in prompts
        ]
        return next((each for each in judged if each.taught), judged[0])

    def unread(self, prompt: str) -> Unread | None:
        """See `ImageTextModel.unread`."""
        return self._sentences.unread(prompt)

    @torch.no_grad()
    def view(self, image: MedImage) -> CompactView:
        """Everything that no text changes."""
        return self._views(image, self._tower)[0]

    @torch.no_grad()
    def compare(self, view: CompactView, text: Tensor) -> tuple[Tensor, float]:
        """Dense logits (128, 128) over the letterboxed square, above their threshold, and the presence in [0, 1] of one
        text of `encode_text`."""
        return self._compare(self._tower, view, text)

    def _views(self, image: MedImage, *towers: CompactTower) -> list[CompactView]:
        """By towers that have one pixel network."""
        pixels = self._sam.frame(image).permute(0, 2, 3, 1).to(self.device)
        encoding, sketched = self._sam.set_image(image).features, self._tower.sketch(pixels)
        seen = [tower.alone(tower.reduce(encoding), pixels).beside(sketched) for tower in towers]
        return [CompactView(seen=each) for each in seen]

    @staticmethod
    def _compare(tower: CompactTower, view: CompactView, text: Tensor) -> tuple[Tensor, float]:
        maps, presence = tower.answer(view.seen, text[None])
        return maps[0, 0], float(presence.sigmoid())


def _one_meaning(values: Tensor, named: Tensor) -> Tensor:
    """(n, embedding), unit length, with what most of a target's rows say for each of them; `named` as in the tower."""
    groups = named.long() + 1
    if not len(groups):
        return values
    sums = values.new_zeros(int(groups.amax()) + 1, values.shape[1])
    means = F.normalize(sums.index_add(0, groups, values), dim=-1)
    agreement = (values * means[groups]).sum(dim=-1, keepdim=True).clamp_min(0) ** AGREEMENT
    means = F.normalize(sums.index_add(0, groups, values * agreement), dim=-1)
    return torch.where(groups[:, None] > 0, means[groups], values)


def to_bytes(tower: CompactTower) -> bytes:
    """The trained part as a safetensors file in half precision, its shape in the header.

    Known sentences, whose length is one, and the filters of the pixel network take 8 bits a number.
    """
    state = {name: value.detach().half().contiguous() for name, value in tower.state_dict().items()}
    state["known"], _ = _in_bytes(tower.known)
    for name in [name for name, value in state.items() if name.startswith(PIXELS) and value.ndim > 1]:
        filters = tower.get_parameter(name).detach()
        state[name], state[name + STEP] = _in_bytes(filters)
    # One entry alone: of several, safetensors writes another first each time.
    return save(state, metadata={"shape": json.dumps(tower.shape.as_dict() | {"heard": HEARD})})


def _in_bytes(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (n, ...) in 8 bits, and what one step of each row (n,) is worth."""
    largest = rows.abs().flatten(1).amax(dim=1)
    steps = (largest / 127).clamp_min(torch.finfo(torch.half).tiny).half()
    apart = steps.float().reshape(-1, *[1] * (rows.ndim - 1))
    return (rows / apart).round().clamp(-127, 127).to(torch.int8).contiguous(), steps


def load_tower(path: Path) -> CompactTower:
    """Read what `to_bytes` wrote.

    Raises:
        BadInput: the file is no embedded model.
    """
    try:
        with safe_open(path, framework="pt") as file, one_thread():  # waking a second costs more than it does here
            shape = json.loads(file.metadata()["shape"])
            if shape.pop("heard", "") != HEARD and shape.get("pixels"):
                raise ValueError("made before its heads heard whole maps")
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118  (no mapping)
        for name in [name for name in state if name.endswith(STEP)]:
            rows = state[name.removesuffix(STEP)]
            rows *= state.pop(name).reshape(-1, *[1] * (rows.ndim - 1))
        with unfilled():
            tower = CompactTower(CompactShape(**shape | {"pixels": tuple(shape.get("pixels", ()))}))
        tower.know(F.normalize(state.pop("known"), dim=-1), state["named"])
        words = {"known": tower.known, "named": tower.named}
        older = {"says_left": tower.says_left}  # files that were written before sides were told apart lack it
        tower.load_state_dict(older | words | state, assign=True)
    except (SafetensorError, TypeError, LookupError, ValueError, RuntimeError) as error:
        raise BadInput(f"{path.name} is not an embedded model of this version") from error
    return tower
