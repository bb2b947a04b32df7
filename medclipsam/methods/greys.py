"""Tells from its pixels whether a picture's greys are inverted (white for black).

    picture  --signs--> 25 numbers --network--> a
    negative --signs--> 25 numbers --network--> b      a - b: how much more the picture looks inverted than its negative

Signs are brightness of border, corners and whole, its quantiles, pure black and white, and where detail lies: in
bright or in dark parts. `benchmarks/greys.py` learns the network from the images of the training data as they are and
inverted, and measures how often it is right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from safetensors.numpy import load_file, save

from medclipsam.types import FloatArray, MedImage

FILE = Path(__file__).with_name("greys.safetensors")
SIDE = 256
"""Longest side, in pixels, of the copy that is looked at."""
BORDER = 0.03
"""Width of the border, as a share of the shorter side."""
PLAIN = 0.02
"""How near to black or white a pixel counts as that."""
QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
DETAIL_PX = 2.0
"""Deviation of the blur that parts detail from brightness."""
NOTE = "the greys of the picture are inverted; the model saw them the right way round"


@dataclass(frozen=True, eq=False, kw_only=True)
class Greys:
    """A network of one hidden layer."""

    centre: FloatArray
    """(signs,): of training images."""
    scale: FloatArray
    """(signs,)."""
    hidden: FloatArray
    """(signs + 1, units), the last row constant."""
    out: FloatArray
    """(units,)."""
    least: float
    """From which difference on a picture counts as inverted."""

    @classmethod
    def read(cls, path: Path = FILE) -> Self:
        """Read what `to_bytes` wrote."""
        arrays = load_file(path)
        least = float(arrays.pop("least"))
        return cls(**arrays, least=least)

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        arrays = {name: getattr(self, name) for name in ("centre", "scale", "hidden", "out")}
        return save({**arrays, "least": np.array(self.least, np.float32)})

    def inversion(self, pixels: FloatArray) -> float:
        """How much more a picture (height, width, 3) in [0, 1] looks inverted than its negative; a negative number
        where it looks less so."""
        plain, turned = signs(pixels), signs(1 - pixels)
        return self.score(plain) - self.score(turned)

    def score(self, found: FloatArray) -> float:
        """What the network makes of the signs (25,) of a picture."""
        inputs = np.append((found - self.centre) / self.scale, 1.0)
        return float(np.tanh(inputs @ self.hidden) @ self.out)


def positive(image: MedImage) -> MedImage | None:
    """The image with its greys the right way round; None where they are, or where there is nothing to tell them by."""
    if np.ptp(image.pixels) < PLAIN:
        return None
    known = known_greys()
    return replace(image, pixels=1 - image.pixels) if known.inversion(image.pixels) >= known.least else None


@lru_cache(maxsize=1)
def known_greys() -> Greys:
    """What comes with the package."""
    return Greys.read()


def signs(pixels: FloatArray) -> FloatArray:
    """(25,): what tells a picture (height, width, 3) in [0, 1] from its negative."""
    small = _small(pixels)
    grey = small.mean(axis=2)
    around = _border(grey)
    blurred = cv2.GaussianBlur(grey, (0, 0), DETAIL_PX)
    detail = grey - blurred
    local = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), DETAIL_PX) + 1e-8)
    red, green, blue = small.mean(axis=(0, 1))
    found = [
        *(around.mean(), np.median(around), _corners(grey).mean(), np.median(_corners(grey)), grey.mean()),
        *np.quantile(grey, QUANTILES),
        *(_skewness(grey), _skewness(detail)),
        *((part < PLAIN).mean() for part in (grey, around)),
        *((part > 1 - PLAIN).mean() for part in (grey, around)),
        *(_together(_distance(grey.shape), grey), _together(_edges(grey), grey), _together(local, blurred)),
        *(red - green, red - blue, green - blue),
        _together(small.max(axis=2) - small.min(axis=2), grey),
    ]
    return np.asarray(found, np.float32)


def _small(pixels: FloatArray) -> FloatArray:
    height, width = pixels.shape[:2]
    share = SIDE / max(height, width)
    if share >= 1:
        return np.ascontiguousarray(pixels, np.float32)
    size = max(2, round(width * share)), max(2, round(height * share))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)


def _border(grey: FloatArray) -> FloatArray:
    wide = max(1, round(BORDER * min(grey.shape)))
    sides = grey[:wide], grey[-wide:], grey[:, :wide], grey[:, -wide:]
    return np.concatenate([side.ravel() for side in sides])


def _corners(grey: FloatArray) -> FloatArray:
    wide = max(1, round(3 * BORDER * min(grey.shape)))
    first, last = slice(None, wide), slice(-wide, None)
    return np.concatenate([grey[rows, columns].ravel() for rows in (first, last) for columns in (first, last)])


def _distance(size: tuple[int, ...]) -> FloatArray:
    """(height, width): from the middle, in shares of both sides."""
    rows, columns = (np.linspace(-0.5, 0.5, length, dtype=np.float32) for length in size)
    return np.hypot(rows[:, None], columns[None])


def _edges(grey: FloatArray) -> FloatArray:
    return np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1))


def _skewness(values: FloatArray) -> float:
    deviation = float(values.std())
    return float((((values - values.mean()) / deviation) ** 3).mean()) if deviation > 1e-6 else 0.0


def _together(one: FloatArray, other: FloatArray) -> float:
    """Correlation of two maps; 0 where one is even."""
    deviations = one.std(), other.std()
    if min(deviations) < 1e-6:
        return 0.0
    return float(((one - one.mean()) * (other - other.mean())).mean() / (deviations[0] * deviations[1]))
