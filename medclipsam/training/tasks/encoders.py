"""What can be fine-tuned: two towers, how images and captions enter them, and how they are written for use."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from medclipsam.backbones import architecture
from medclipsam.backbones.clip import load_clip, open_clip_files
from medclipsam.backbones.compact_clip import load_tower
from medclipsam.backbones.texttower import text_tower
from medclipsam.config import EMBEDDED_CLIPS, FitKind, ZeroShot
from medclipsam.errors import MissingWeights
from medclipsam.io.atomic import write_atomic
from medclipsam.training.checkpoint import save_weights
from medclipsam.training.data.captions import Pair
from medclipsam.training.data.pairs import PairData, PairSource, Preparation
from medclipsam.training.embedded.captioned import CompactEncoder
from medclipsam.training.recipes import ClipRecipe
from medclipsam.training.tasks.freezing import open_clip_towers
from medclipsam.weights.compact import compact_weights

WEIGHTS = "model.safetensors"
TOKENIZER_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
"""What else of the source folder the model needs, where it is there."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DualEncoder:
    """Whatever encodes images and captions into one space and can be trained."""

    network: nn.Module
    """All weights."""
    encode_image: Callable[[Tensor], Tensor]
    """(B, ...) images as `pairs` gives them -> (B, D), by the network's weights."""
    encode_text: Callable[[Tensor], Tensor]
    """(B, ...) captions likewise -> (B, D), likewise."""
    freeze: Callable[[ClipRecipe], None]
    """Keeps what the recipe says; called once, before `pairs`."""
    pairs: Callable[[Sequence[Pair], ClipRecipe], PairSource]
    """How pairs enter the towers: the recipe gives crops and seed."""
    export: Callable[[Path], None]
    """Writes the network, as it is then, for use."""
    identity: str
    """SHA-256 of the weights it starts from."""


def encoder_for(config: ZeroShot, weights: Path | None = None) -> DualEncoder:
    """The CLIP of a preset, or another one in its place.

    Args:
        weights: the folder of a run or of an open_clip model, or a checkpoint of the preset's architecture.

    Raises:
        BadInput: files that do not fit together.
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    if weights is not None and not weights.exists():
        raise MissingWeights(f"there are no weights {weights}", "check the path")
    if config.clip in EMBEDDED_CLIPS:
        return compact_encoder(weights, config.clip)
    folder, checkpoint = open_clip_files(config.clip, weights)
    return open_clip_encoder(folder, checkpoint=checkpoint, fit=config.fit)


def compact_encoder(weights: Path | None = None, key: str = "compact") -> DualEncoder:
    """The embedded model, ready to be trained.

    Args:
        weights: a run's folder, or a file that an earlier run exported; None: those of the package.
        key: which of the package's.

    Raises:
        BadInput, MissingWeights, WrongHash: see `compact_clip.load_tower` and `weights.compact.compact_weights`.
    """
    file, identity = compact_weights(weights, key)
    encoder = CompactEncoder(load_tower(file))
    return DualEncoder(
        network=encoder.tower,
        encode_image=encoder.encode_image,
        encode_text=encoder.tower.embed_text,
        freeze=encoder.freeze,
        pairs=encoder.pairs,
        export=encoder.export,
        identity=identity,
    )


def open_clip_encoder(folder: Path, *, checkpoint: Path | None = None, fit: FitKind = "squash") -> DualEncoder:
    """An open_clip model with a vision transformer, ready to be trained in single precision.

    Args:
        folder: in open_clip's layout, as `backbones.clip.load_clip` takes it.
        checkpoint: weights to start from instead of the folder's.
        fit: how images enter the tower's square, the same as in use afterwards.

    Raises:
        MissingWeights: a file is not there.
        BadInput: files that do not fit together.
    """
    model = load_clip(folder, checkpoint=checkpoint)
    network = model.network.requires_grad_(True)
    for name, weight in network.named_parameters():
        if name.startswith("logit_"):
            weight.requires_grad_(False)  # no loss here uses CLIP's own temperature
    text = text_tower(network.text)
    files = {name: (folder / name).read_bytes() for name in TOKENIZER_FILES if (folder / name).is_file()}
    files[architecture.CONFIG] = _own_config(folder)

    prepare = Preparation(
        side=model.side, mean=_three(network.visual.image_mean), std=_three(network.visual.image_std), fit=fit
    )
    tokenize = architecture.Tokenizer(folder)

    def export(out: Path) -> None:
        for name, content in files.items():
            write_atomic(out / name, content)
        save_weights(out / WEIGHTS, network.state_dict())

    return DualEncoder(
        network=network,
        encode_image=network.encode_image,
        encode_text=lambda tokens: text.encode(text.trimmed(tokens)),
        freeze=open_clip_towers(network).freeze,
        pairs=lambda pairs, recipe: PairData(
            pairs, replace(prepare, crop_scale=recipe.crop_scale), tokenize, recipe.seed
        ),
        export=export,
        identity=model.identity,
    )


def _own_config(folder: Path) -> bytes:
    """The architecture for the run's folder: the text tower in its own module, no weights from elsewhere."""
    config = json.loads((folder / architecture.CONFIG).read_text("utf-8"))
    config["model_cfg"]["custom_text"] = True
    return (json.dumps(config, indent=2) + "\n").encode()


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue
