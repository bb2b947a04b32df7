"""Finds, verifies and loads the Segment Anything models that the table of weights knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from medclipsam.backbones.geometry import LITE_MEDSAM, MEDSAM, SEGMENT_ANYTHING, Framing
from medclipsam.backbones.sam import PromptableSegmenter
from medclipsam.backbones.sam_networks import (
    ENCODER,
    VIT_B,
    VIT_H,
    VIT_L,
    SamNetwork,
    VitShape,
    load_lite_medsam,
    load_plain_vit,
)
from medclipsam.errors import BadInput
from medclipsam.runtime import one_thread
from medclipsam.weights import digest, find
from medclipsam.weights.loading import load_state, without_prefixes

VITS: Mapping[str, VitShape] = MappingProxyType(
    {"sam-vit-b": VIT_B, "sam-vit-l": VIT_L, "sam-vit-h": VIT_H, "medsam-vit-b": VIT_B}
)
MODELS: Mapping[str, tuple[Callable[[Mapping[str, Tensor]], SamNetwork], Framing]] = MappingProxyType(
    {
        "sam-vit-b": (partial(load_plain_vit, VIT_B), SEGMENT_ANYTHING),
        "sam-vit-l": (partial(load_plain_vit, VIT_L), SEGMENT_ANYTHING),
        "sam-vit-h": (partial(load_plain_vit, VIT_H), SEGMENT_ANYTHING),
        "medsam-vit-b": (partial(load_plain_vit, VIT_B), MEDSAM),
        "lite-medsam": (load_lite_medsam, LITE_MEDSAM),
    }
)
"""How each key of the weights table becomes a network, and how images enter it."""


def load_sam(
    key: str,
    *,
    path: Path | None = None,
    sha256: str | None = None,
    own: Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    cache: Path | None = None,
) -> PromptableSegmenter:
    """Find, verify and load a Segment Anything model.

    Args:
        key: `sam-vit-b`, `sam-vit-l`, `sam-vit-h`, `medsam-vit-b` or `lite-medsam`.
        path: checkpoint to use instead of looking for it.
        sha256: its expected hash, where it is not the pinned one.
        own: a person's own checkpoint in the layout of `key`, in place of the known one; its hash is told, not
            compared.
        device: where it runs.
        dtype: precision of the image encoder.
        cache: folder where encodings are kept for other processes.

    Raises:
        BadInput: the key names no Segment Anything model, or the checkpoint is damaged or of another model.
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    if key not in MODELS:
        raise BadInput(f"{key!r} is not a Segment Anything model", f"choose one of {', '.join(MODELS)}")
    file, identity = (own, digest(own)) if own else _known(key, path, sha256)
    build, framing = MODELS[key]
    state = without_prefixes(load_state(file))
    try:
        with one_thread():  # waking a second costs more than it does here
            network = build({name: tensor.float() for name, tensor in state.items()})
    except BadInput as error:
        remedy = f"name the model that it was made from{_looks_like(state)}"
        raise BadInput(f"{file.name} as {key}: {error.problem}", remedy) from error
    return PromptableSegmenter(network, framing, name=key, sha256=identity, device=device, dtype=dtype, cache=cache)


def _looks_like(state: Mapping[str, Tensor]) -> str:
    """What tensors say of the model that they are of; empty where they say nothing."""
    if f"{ENCODER}patch_embed.seq.0.c.weight" in state:
        return ": it looks like lite-medsam"
    patches = state.get(f"{ENCODER}patch_embed.proj.weight")
    keys = [key for key, shape in VITS.items() if patches is not None and shape.width == len(patches)]
    return f": it looks like {' or '.join(keys)}" if keys else ""


def _known(key: str, path: Path | None, sha256: str | None) -> tuple[Path, str]:
    found = find(key, path, sha256)
    return found.file, found.sha256
