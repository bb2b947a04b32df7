"""EM-CLIP, in the spirit of arXiv 2509.08570 (2025), which has neither public code nor a number to compare with.

    image --frozen--> three grids of tokens --.
                                              +--> EM aggregation --> pixel decoder --> pixels . texts --> logits
    texts --frozen--> one token a structure --'         '---------------- texts ------------------^

All structures of a run, and the background, are texts at once: their order is that of the centres and of the maps, one
sigmoid each, so that a cup may lie inside its disc. A prompt is answered by the map of the structure that it names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medclipsam.errors import BadInput
from medclipsam.networks.aggregation import Assignment, EmAggregation
from medclipsam.networks.contract import Batch, Features, Inputs, SupervisedNetwork, Taught
from medclipsam.networks.emclip_settings import EmClipSettings
from medclipsam.networks.losses import mask_losses
from medclipsam.networks.pixel_decoder import PixelDecoder
from medclipsam.networks.towers import KEPT, Towers, clip_towers, embedded_towers

BACKGROUND = "background"
AGGREGATED = 2
"""How many grids are gathered around centres, from the coarsest on; the finest adds outlines alone."""
NEAR = 0.6
"""Cosine of the frozen text encoder above which a wording is taken for a structure's name."""
FIRST_SCALE, FIRST_BIAS = 10.0, -2.0
"""How a cosine becomes a logit at first: most pixels are outside."""


def build(settings: EmClipSettings, taught: Taught, device: torch.device) -> EmClip:
    """EM-CLIP for the structures that are taught.

    Raises:
        BadInput: a square that is not the towers', or as `clip_towers`.
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    embedded = settings.towers == "embedded"
    towers = embedded_towers(device) if embedded else clip_towers(settings.towers_folder, device)
    return EmClip(settings, towers, taught.targets)


@dataclass(frozen=True, eq=False, kw_only=True)
class Answers:
    """What the network makes of a batch of images, for all structures at once."""

    logits: Tensor
    """(I, K, grid, grid)."""
    score: Tensor | None
    """(I, K, grid, grid) logits from cosines of pixels and texts alone; None where texts do not guide."""
    pixels: Tensor
    """(I, grid, grid, width): the features that the logits are read from."""
    assignments: tuple[Assignment, ...]
    """One for each coarse grid; none without aggregation."""


class TextReader(nn.Module):
    """Reads a map for each text from pixel features: a filter that the text makes, plus its cosine with the pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.filters = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.scale = nn.Parameter(torch.tensor(FIRST_SCALE))
        self.bias = nn.Parameter(torch.tensor(FIRST_BIAS))

    def forward(self, pixels: Tensor, texts: Tensor) -> tuple[Tensor, Tensor | None]:
        """(I, grid, grid, C) and (I, K, C) -> logits (I, K, grid, grid), and those of the cosine alone."""
        unit, named = F.normalize(pixels.float(), dim=3), F.normalize(texts.float(), dim=2)
        score = self.scale * torch.einsum("bhwc,bkc->bkhw", unit, named) + self.bias
        filtered = torch.einsum("bhwc,bkc->bkhw", pixels, self.filters(texts)) / pixels.shape[3] ** 0.5
        return filtered.float() + score, score


class FixedReader(nn.Module):
    """Reads maps by one filter for each structure, whatever it is called."""

    def __init__(self, width: int, structures: int) -> None:
        super().__init__()
        self.filters = nn.Linear(width, structures)

    def forward(self, pixels: Tensor, texts: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `TextReader`, without a cosine."""
        return self.filters(pixels).permute(0, 3, 1, 2), None


class EmClip(SupervisedNetwork):
    """See the module.

    Args:
        towers: the frozen encoders.
        targets: names of the structures; their order is that of the maps.
    """

    names: Tensor
    wants_whole_images = True

    def __init__(self, settings: EmClipSettings, towers: Towers, targets: Sequence[str]) -> None:
        super().__init__()
        if settings.side != towers.side:
            raise BadInput(f"these towers see squares of {towers.side} pixels", f"use --set side={towers.side}")
        self.settings, self.side, self.targets = settings, settings.side, tuple(targets)
        self._towers = (towers,)  # in a tuple, so that its weights are not ours
        width = settings.width
        self.visual = nn.ModuleList(_projection(channels, width) for channels in towers.channels)
        uses_text = settings.aggregation or settings.text_decoder
        self.text = _projection(towers.texts.width, width) if uses_text else None
        self.aggregation = self._aggregations() if settings.aggregation else None
        self.decoder = PixelDecoder(width, settings.heads, settings.rounds, towers.grids, guided=settings.text_decoder)
        self.reader = TextReader(width) if settings.text_decoder else FixedReader(width, len(self.targets))
        names = towers.texts.encode([*self.targets, BACKGROUND])
        self.register_buffer("names", names.detach().cpu(), persistent=False)

    def _aggregations(self) -> nn.ModuleList:
        """One for each coarse grid; behind the last one only the text decoder reads the texts."""
        its = self.settings
        return nn.ModuleList(
            EmAggregation(
                its.width,
                bank=its.bank,
                momentum=its.momentum,
                iterations=its.iterations,
                temperature=its.temperature,
                tells_texts=its.text_decoder or place < AGGREGATED - 1,
            )
            for place in range(AGGREGATED)
        )

    @property
    def frozen(self) -> Mapping[str, str]:
        """See the contract."""
        return self._towers[0].hashes

    @property
    def encoding(self) -> str:
        """See the contract."""
        return f"{KEPT} {' '.join(self.frozen.values())}"

    def encode(self, pixels: Tensor) -> Features:
        """See the contract; in half precision, 2 MB an image with the embedded towers."""
        return self._towers[0].encode(pixels)

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """See the contract: only maps of structures that are labelled in their image count."""
        answers = self.answer(self._features(batch))
        rows = torch.tensor([self.targets.index(target) for target in batch.targets], device=batch.image_of.device)
        found = dict(mask_losses(answers.logits[batch.image_of, rows], batch.masks, dice=1.0, entropy=1.0))
        total = found["loss"]
        if answers.score is not None:
            found["score_loss"] = mask_losses(answers.score[batch.image_of, rows], batch.masks, 1.0, 1.0)["loss"]
            total = total + self.settings.score_weight * found["score_loss"]
        if answers.assignments:
            found |= self._gathering(answers.assignments)
            total = total + self.settings.compact_weight * found["compact_loss"]
            total = total + self.settings.anchor_weight * found["anchor_loss"]
        return found | {"loss": total}

    def _gathering(self, assignments: Sequence[Assignment]) -> dict[str, Tensor]:
        """Losses of the assignments, and what tells whether they are more than noise; means over grids."""
        temperature = self.settings.temperature
        values = {
            "compact_loss": [each.spread() for each in assignments],
            "anchor_loss": [each.anchored(temperature) for each in assignments],
            "entropy": [each.entropy().detach() for each in assignments],
            "centre_cosine": [each.cosine().detach() for each in assignments],
        }
        return {name: torch.stack(parts).mean() for name, parts in values.items()}

    def probability(self, inputs: Inputs, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """See the contract; each image is answered once, for all structures."""
        maps = self.answer(self._features(inputs)).logits.float().sigmoid()
        named = inputs.targets if isinstance(inputs, Batch) else inputs.texts
        rows = torch.tensor([self.structure(text) for text in named], device=maps.device)
        return maps[inputs.image_of, rows].expand(samples, -1, -1, -1)

    def answer(self, features: Features, names: Tensor | None = None) -> Answers:
        """All maps of images.

        Args:
            features: from `encode`.
            names: (K + 1, width of the text encoder): vectors of the structures and, last, of the background; None:
                those of `targets`.
        """
        names = self.names if names is None else names
        grids = self._towers[0].levels(features)
        levels = [project(grid) for project, grid in zip(self.visual, grids, strict=True)]
        # without a reader of texts their place is taken by the bare vectors, which nobody asks
        texts = (names if self.text is None else self.text(names)).expand(len(levels[0]), -1, -1)
        assignments = []
        for place, aggregate in enumerate(self.aggregation or ()):
            levels[place], texts, found = aggregate(levels[place], texts)
            assignments.append(found)
        pixels = self.decoder(levels, texts)
        logits, score = self.reader(pixels, texts[:, :-1])
        return Answers(logits=logits, score=score, pixels=pixels, assignments=tuple(assignments))

    def _features(self, inputs: Inputs) -> Features:
        """Kept ones, or those of the pixels."""
        if inputs.features:
            return inputs.features
        with torch.no_grad():
            return self.encode(inputs.pixels)

    def structure(self, text: str) -> int:
        """Which structure a text names: its own name, or the one that lies nearest in the frozen encoder.

        Raises:
            BadInput: none is near.
        """
        plain = [target.casefold() for target in self.targets]
        if (said := text.strip().casefold()) in plain:
            return plain.index(said)
        vector = F.normalize(self._towers[0].texts.encode([text]).to(self.names.device), dim=1)
        nearness = (F.normalize(self.names[:-1], dim=1) @ vector.T)[:, 0]
        if nearness.max() < NEAR:
            raise BadInput(f"this run learned {', '.join(self.targets)}, not {text[:60]!r}", "name one of these")
        return int(nearness.argmax())


def intra_class_variance(pixels: Tensor, masks: Tensor) -> float:
    """How far pixel features of one structure are scattered: 0 where all are one vector, up to 1.

    Args:
        pixels: (n, C), features of any length.
        masks: (n,) bool: those of the structure; without any the answer is NaN.
    """
    chosen = F.normalize(pixels[masks].float(), dim=1)
    return float(1 - chosen.mean(dim=0).square().sum()) if len(chosen) else float("nan")


def _projection(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width), nn.LayerNorm(width))
