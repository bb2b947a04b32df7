"""A CLIP of open_clip that encodes images and prompts, BiomedCLIP first.

BiomedCLIP (Zhang et al., NEJM AI 2025) is timm's ViT-B/16 and PubMedBERT with 512 shared dimensions; any other
open_clip model with a vision transformer serves as well. Weights come from a folder, such as `weights.pull` fills from
the hub at a pinned revision, or from a fine-tuned checkpoint over its architecture.

    folder --architecture.build--> network <--layouts-- checkpoint (open_clip or Hugging Face layout)
                                      |
                     lower | upper | encode_text
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from open_clip.model import CustomTextCLIP
from torch import Tensor

from medclipsam.backbones import architecture, layouts
from medclipsam.backbones.geometry import Frame
from medclipsam.backbones.texttower import text_tower
from medclipsam.backbones.tower import checked_layer, images_at_once
from medclipsam.backbones.vision import vision_tower
from medclipsam.backbones.wordpieces import Unread
from medclipsam.config import FitKind
from medclipsam.errors import BadInput, MissingWeights
from medclipsam.types import MedImage
from medclipsam.weights.loading import load_state
from medclipsam.weights.store import digest, find, find_beside

CHECKPOINTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
"""Names under which a folder's weights are looked for, best first."""


class ClipModel:
    """Two frozen towers and their tokenizer; an `ImageTextModel`.

    Args:
        network: an open_clip model; it is frozen, set to evaluation and moved to `device`.
        tokenizer: the one that the text tower was trained with.
        identity: SHA-256 of the weights, or a name where they are random.
        device: where it runs, in single precision.

    Raises:
        BadInput: towers that cannot be cut (no vision transformer, or a text tower of another kind).
    """

    def __init__(
        self,
        network: CustomTextCLIP,
        tokenizer: architecture.Tokenizer,
        *,
        identity: str,
        device: torch.device | str = "cpu",
    ) -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self.device = torch.device(device)
        self.identity = identity
        self._tokenizer = tokenizer
        self._vision = vision_tower(network.visual)
        self._text = text_tower(network.text)
        self.side, self.grid, self.prefix_tokens = self._vision.side, self._vision.grid, self._vision.prefix_tokens
        self.blocks = len(self._vision.blocks)
        self._mean = torch.tensor(network.visual.image_mean).view(3, 1, 1)
        self._deviation = torch.tensor(network.visual.image_std).view(3, 1, 1)

    def prepare(self, image: MedImage, fit: FitKind) -> Tensor:
        """(3, side, side) on the CPU: the image in the tower's square, minus its mean, over its standard deviation."""
        square = Frame(kind=fit, size=image.size, side=self.side).forward(image.pixels)
        return self.normalised(square)

    def normalised(self, pixels: Tensor) -> Tensor:
        """(..., 3, side, side) in [0, 1], minus the tower's mean, over its standard deviation."""
        return (pixels - self._mean.to(pixels.device)) / self._deviation.to(pixels.device)

    def tokens(self, image: MedImage, fit: FitKind, layer: int) -> Tensor:
        """(1, prefix + rows * columns, width) of one image after block `layer`; see `lower`."""
        return self.lower(self.prepare(image, fit)[None], layer)

    @torch.no_grad()
    def lower(self, pixels: Tensor, layer: int) -> Tensor:
        """(B, 3, side, side) -> (B, prefix + rows * columns, width): up to and with block `layer`.

        Raises:
            BadInput: a layer that the tower does not have.
        """
        stop = checked_layer(layer, self.blocks) + 1
        parts = pixels.to(self.device).split(images_at_once(self.device))
        return torch.cat([self._vision.advance(self._vision.embed(part), 0, stop) for part in parts])

    def upper(self, tokens: Tensor, layer: int) -> Tensor:
        """(B, prefix + rows * columns, width) after block `layer` -> (B, D), not normalised; gradients flow to tokens.

        Raises:
            BadInput: a layer that the tower does not have.
        """
        return self._vision.finish(tokens, checked_layer(layer, self.blocks) + 1)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """(n, D), not normalised; padding is hidden, so that other prompts in the list change nothing.

        A prompt longer than the model's context is cut at its end.
        """
        if not prompts:
            return self.encode_text([""])[:0]
        parts = self._tokenizer(list(prompts)).to(self.device).split(images_at_once(self.device))
        return torch.cat([self._text.encode(self._text.trimmed(part)) for part in parts])

    def unread(self, prompt: str) -> Unread | None:
        """See `ImageTextModel.unread`."""
        return self._tokenizer.unread(prompt)


def load_clip(
    folder: Path, *, checkpoint: Path | None = None, identity: str | None = None, device: torch.device | str = "cpu"
) -> ClipModel:
    """Load a CLIP from local files; the network is never asked.

    Args:
        folder: the architecture, the tokenizer, and the weights unless `checkpoint` names others.
        checkpoint: fine-tuned weights in open_clip's layout, bare or in a training dict, or in the Hugging Face port's.
        identity: SHA-256 of the weights where the caller knows it already.
        device: where it runs.

    Raises:
        MissingWeights: a file is not there; the message says which.
        BadInput: files that do not fit together or are no weights.
    """
    path = checkpoint or find_checkpoint(folder)
    identity = identity or digest(path)
    network = architecture.build(folder, draw=False)
    fill(network, layouts.to_open_clip(load_state(path)), path.name)
    return ClipModel(network, architecture.Tokenizer(folder), identity=identity, device=device)


def open_clip_files(key: str, weights: Path | None = None) -> tuple[Path, Path | None]:
    """Where the parts of a CLIP lie: the folder of its architecture and tokenizer, and weights that are not in it.

    Args:
        key: the CLIP of the weights table.
        weights: a person's own in its place: the folder of an open_clip model, or a checkpoint. Where no
            `open_clip_config.json` lies with the checkpoint, it is read as one of `key`, whose configuration and
            tokenizer are then needed, and its tensors are not.

    Raises:
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    if weights is None:
        return find(key).folder, None
    if not weights.exists():
        raise MissingWeights(f"there are no weights {weights}", "check the path")
    folder = weights if weights.is_dir() else weights.parent
    checkpoint = find_checkpoint(weights) if weights.is_dir() else weights
    return (folder if (folder / architecture.CONFIG).is_file() else find_beside(key)), checkpoint


def find_checkpoint(folder: Path) -> Path:
    """The weights in a folder.

    Raises:
        MissingWeights: there are none.
    """
    for name in CHECKPOINTS:
        if (folder / name).is_file():
            return folder / name
    raise MissingWeights(f"{folder.name} holds no weights", f"put {CHECKPOINTS[0]} or {CHECKPOINTS[2]} there")


def fill(network: CustomTextCLIP, state: layouts.State, name: str) -> None:
    """Load every weight, and no other."""
    expected = network.state_dict()
    missing, unknown = expected.keys() - state.keys(), state.keys() - expected.keys()
    if missing or unknown:
        example = min(missing or unknown)
        verb = "lacks" if missing else "has no place for"
        counted = f"{len(missing)} tensors missing, {len(unknown)} unknown"
        raise BadInput(f"{name} does not fit the architecture: it {verb} {example} ({counted})", "check the checkpoint")
    for key, tensor in state.items():
        if tensor.numel() != expected[key].numel():
            shapes = f"{key} is {tuple(tensor.shape)}, not {tuple(expected[key].shape)}"
            raise BadInput(f"{name} does not fit the architecture: {shapes}", "check the checkpoint")
    network.load_state_dict({key: tensor.reshape(expected[key].shape) for key, tensor in state.items()})
