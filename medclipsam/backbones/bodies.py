"""Tells which part of the body an image shows, by what LiteMedSAM's encoder makes of it; no torch here.

    features (1, 256, 64, 64) -> cells of the image along 128 axes -> mean and deviation -> linear -> {"head": 0.98}

A taught target is out of the question where the parts that may show it have next to no share. `benchmarks/bodies.py`
learns the numbers from the folders of the training data, and measures how often this is right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from medclipsam.backbones.letterbox import kept_aspect
from medclipsam.types import FloatArray

FILE = Path(__file__).with_name("bodies.safetensors")
LEAST = 0.05
"""Share of the parts of the body that may show a target below which the image cannot show it."""
OUT_OF_PLACE = 0.002
"""The same where the map of the target says that it is there: strangers' images are often taken for another part."""
SQUARE = 256
"""Side of the encoder's input, in pixels."""
_ARRAYS = ("mean", "axes", "centre", "scale", "weights")


@dataclass(frozen=True, eq=False, kw_only=True)
class Bodies:
    """A linear judge of encodings."""

    names: Sequence[str]
    """Parts of the body."""
    possible: Mapping[str, frozenset[str]]
    """For each target of the training data the parts that may show it."""
    encoder: str
    """SHA-256 of the weights of the encoder."""
    mean: FloatArray
    """(256,)."""
    axes: FloatArray
    """(256, 128): what brings an encoding, less its mean, onto the axes."""
    centre: FloatArray
    """(256,): of pooled encodings."""
    scale: FloatArray
    """(256,)."""
    weights: FloatArray
    """(257, parts), the last row constant."""

    @classmethod
    def read(cls, path: Path = FILE) -> Self:
        """Read what `to_bytes` wrote."""
        with safe_open(path, framework="numpy") as file:
            facts = json.loads(file.metadata()["facts"])
            arrays = {name: file.get_tensor(name).astype(np.float32) for name in _ARRAYS}
        possible = {target: frozenset(parts) for target, parts in facts["possible"].items()}
        return cls(names=facts["names"], possible=possible, encoder=facts["encoder"], **arrays)

    def to_bytes(self) -> bytes:
        """As a safetensors file in half precision."""
        facts = {
            "names": list(self.names),
            "possible": {target: sorted(parts) for target, parts in sorted(self.possible.items())},
            "encoder": self.encoder,
        }
        arrays = {name: np.ascontiguousarray(getattr(self, name), np.float16) for name in _ARRAYS}
        return save(arrays, metadata={"facts": json.dumps(facts)})

    def seen(self, features: FloatArray, size: tuple[int, int]) -> dict[str, float]:
        """The share of each part of the body, together 1.

        Args:
            features: (1, 256, 64, 64), the encoding of an image in a letterbox.
            size: (height, width) of the image.
        """
        cells = cells_of(np.moveaxis(features[0], 0, -1), size)
        turned: FloatArray = np.asarray((cells - self.mean) @ self.axes, np.float32)
        return self.shares(pooled(turned))

    def shares(self, vector: FloatArray) -> dict[str, float]:
        """Those of a pooled encoding (256,)."""
        logits = np.append((vector - self.centre) / self.scale, 1.0) @ self.weights
        odds = np.exp(logits - logits.max())
        return dict(zip(self.names, (odds / odds.sum()).tolist(), strict=True))

    def shown_instead(self, target: str, shares: Mapping[str, float], least: float = LEAST) -> str | None:
        """The part of the body that an image shows, where it cannot show a target; None where it may, or is unknown.

        Args:
            least: share of the parts that may show it from which it may.
        """
        parts = self.possible.get(target)
        if parts is None or sum(shares.get(part, 0.0) for part in parts) >= least:
            return None
        return max(shares, key=lambda part: shares[part])


def cells_of(grid: FloatArray, size: tuple[int, int]) -> FloatArray:
    """(rows, columns, n) of the grid that lie on the image and not behind it."""
    content = (kept_aspect(side, max(size), SQUARE) for side in size)
    rows, columns = (max(1, round(pixels * len(grid) / SQUARE)) for pixels in content)
    return grid[:rows, :columns]


def pooled(cells: FloatArray) -> FloatArray:
    """(rows, columns, n) -> (2 n,): mean and deviation of each axis."""
    flat = cells.reshape(-1, cells.shape[-1])
    return np.concatenate([flat.mean(axis=0), flat.std(axis=0)])


@lru_cache(maxsize=1)
def known_bodies() -> Bodies:
    """What comes with the package."""
    return Bodies.read()
