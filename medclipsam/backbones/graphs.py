"""Cuts the embedded model into graphs for engines that need no torch, and writes each into a file.

    pixels --encoder--> features --tower--> cells --weigh--> map, presence
                            |                         ^
                            '--decoder--> mask        '-- text -- word pieces
                                  ^-- box

Shapes are fixed but for the length of a text: a graph of one image and one box gives the same bits in any company.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medclipsam.backbones.compact import SENTENCE, CompactTower, Seen
from medclipsam.backbones.compact_clip import KnownTexts
from medclipsam.backbones.minilm import LAYERS, Bert
from medclipsam.backbones.sam_networks import SamNetwork
from medclipsam.engines import SUFFIXES

OPSET = 17
"""Version of ONNX's operators: the first with layer normalisation."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """A graph to be."""

    network: nn.Module
    example: tuple[Tensor, ...]
    any_length: bool = False
    """Whether the second axis of the one input may have any length."""


class Tower(nn.Module):
    """(1, 256, 64, 64) features and (1, 3, 256, 256) pixels -> cells (1, 64, 64, C), outline (1, 128, 128, P)."""

    def __init__(self, tower: CompactTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, features: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """As `CompactClip.view` does."""
        cells, outline = self.tower.view(self.tower.reduce(features), pixels.permute(0, 2, 3, 1))
        return cells, outline


class Weigh(nn.Module):
    """What `Tower` gives and a text (D,) -> logits (128, 128) above their threshold, presence in [0, 1]."""

    def __init__(self, tower: CompactTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, cells: Tensor, outline: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """As `CompactClip.compare` does."""
        maps, presence = self.tower.answer(Seen(cells, outline), text[None])
        return maps[0, 0], presence.sigmoid()


class Text(nn.Module):
    """Rows of word pieces (1, n, 384) -> the text (1, D) and its sentence vector (1, 384), both of unit length.

    The table of the rows, half of MiniLM, stays out.
    """

    def __init__(self, bert: Bert, known: KnownTexts) -> None:
        super().__init__()
        self.bert, self.known = bert, known

    def forward(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """As `CompactClip.encode_text` and `SentenceEncoder.encode` do of one text."""
        real = torch.ones(words.shape[:2], dtype=torch.bool)
        hidden = self.bert.advance(self.bert.placed(words), real, 0, LAYERS)
        sentence = F.normalize(hidden.mean(dim=1), dim=-1)
        return self.known.read(sentence), sentence


class Decoder(nn.Module):
    """Features (1, 256, 64, 64), edges of a box (1, 4) in the square -> logits (1, 1, 256, 256), score (1, 1)."""

    def __init__(self, network: SamNetwork) -> None:
        super().__init__()
        self.prompts, self.masks = network.prompt_encoder, network.mask_decoder
        self.register_buffer("position", network.prompt_encoder.get_dense_pe())

    def forward(self, features: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        """As `PromptableSegmenter.predict` does of one box."""
        sparse, dense = self.prompts(points=None, boxes=box, masks=None)
        logits, scores = self.masks(
            image_embeddings=features,
            image_pe=self.position,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return logits, scores


def parts_of(network: SamNetwork, tower: CompactTower, bert: Bert, known: KnownTexts) -> dict[str, Part]:
    """Every graph of the embedded model, by its name."""
    features, pixels = torch.rand(1, 256, 64, 64), torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        cells, outline = Tower(tower)(features, pixels)
    return {
        "encoder": Part(network=network.image_encoder, example=(pixels,)),
        "tower": Part(network=Tower(tower), example=(features, pixels)),
        "weigh": Part(network=Weigh(tower), example=(cells, outline, torch.rand(tower.shape.embedding))),
        "text": Part(network=Text(bert, known), example=(torch.rand(1, 3, SENTENCE),), any_length=True),
        "decoder": Part(network=Decoder(network), example=(features, torch.tensor([[10.0, 20, 200, 180]]))),
    }


def save(parts: Mapping[str, Part], engine: str, folder: Path) -> None:
    """Write every graph for an engine, `NAME.xml` or `NAME.onnx`.

    Raises:
        Exception: of any kind, where the engine's converter does not know an operation of this version of torch.
    """
    write = _save_openvino if engine == "openvino" else _save_onnx
    with torch.no_grad(), _quiet():
        for name, part in parts.items():
            write(part, folder / f"{name}{SUFFIXES[engine]}")


def _save_openvino(part: Part, file: Path) -> None:
    import openvino  # noqa: PLC0415  (optional)

    traced = torch.jit.trace(part.network.eval(), part.example, check_trace=False)
    shapes = [[1, -1, SENTENCE]] if part.any_length else [list(each.shape) for each in part.example]
    model = openvino.convert_model(traced, example_input=part.example, input=[openvino.PartialShape(s) for s in shapes])
    openvino.save_model(model, file, compress_to_fp16=False)


def _save_onnx(part: Part, file: Path) -> None:
    """By tracing: torch's newer exporter does not follow MiniLM's tensors, which are no parameters of a module."""
    names = [f"input_{number}" for number in range(len(part.example))]
    lengths = {names[0]: {1: "length"}} if part.any_length else None
    options: dict[str, Any] = {"opset_version": OPSET, "dynamo": False, "dynamic_axes": lengths}
    torch.onnx.export(part.network.eval(), part.example, str(file), input_names=names, **options)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what tracers say of loops that they unroll, as they should."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
