"""Segment a medical image from words. Research use only, not a medical device.

import medclipsam
segmenter = medclipsam.load("embedded")
result = segmenter.segment(medclipsam.read_image("scan.dcm"), "breast tumor")
result.found, result.mask, result.probability, result.saliency, result.box
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from medclipsam.config import PRESETS, ZeroShot
    from medclipsam.io import image_from_array, read_image, read_images
    from medclipsam.methods import load
    from medclipsam.types import Box, Hints, MedImage, Points, Segmentation

_HOMES = {
    "PRESETS": "medclipsam.config",
    "ZeroShot": "medclipsam.config",
    "image_from_array": "medclipsam.io",
    "read_image": "medclipsam.io",
    "read_images": "medclipsam.io",
    "load": "medclipsam.methods",
    "Box": "medclipsam.types",
    "Hints": "medclipsam.types",
    "MedImage": "medclipsam.types",
    "Points": "medclipsam.types",
    "Segmentation": "medclipsam.types",
}

__all__ = [  # noqa: RUF022  (the order in which one meets them)
    "load",
    "read_image",
    "read_images",
    "image_from_array",
    "MedImage",
    "Hints",
    "Box",
    "Points",
    "Segmentation",
    "PRESETS",
    "ZeroShot",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for: the command line starts without torch."""
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'medclipsam' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def _version() -> str:
    """The installed version; asking for it takes a sixth of the time in which the command line shows its help."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version("medclipsam")
    except PackageNotFoundError:
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted(__all__)
