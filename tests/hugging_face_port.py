"""BiomedCLIP weights in the layout of the Hugging Face port, made from those of open_clip, as users bring them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from medclipsam.backbones.layouts import CLASS_TOKEN, POSITIONS, RENAMED, SPLIT


def to_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights in the layout of the port."""
    port: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name == CLASS_TOKEN[0]:
            port[CLASS_TOKEN[1]] = tensor.flatten()
        elif name == POSITIONS[0]:
            port[POSITIONS[1]] = tensor[0]
        elif fused := re.fullmatch(r"visual\.trunk\.blocks\.(\d+)\.attn\.qkv\.(\w+)", name):
            names = [part.replace("{n}", fused[1]) + fused[2] for part in SPLIT]
            port |= {part: third.contiguous() for part, third in zip(names, tensor.chunk(3), strict=True)}
        else:
            port[_renamed(name)] = tensor
    return port


def _renamed(name: str) -> str:
    number = re.search(r"\d+", name)
    for ours, theirs in RENAMED:
        start = ours.replace("{n}", number[0] if number else "")
        if name.startswith(start):
            return theirs.replace("{n}", number[0] if number else "") + name.removeprefix(start)
    raise KeyError(name)
