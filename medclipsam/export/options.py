"""The choices that a person has for an export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Bring = Literal["copy", "link", "refer"]
Shapes = Literal["masks", "polygons"]
Kind = Literal["pictures", "volumes"]
"""Volumes are volume files and series of slices; pictures all else: photographs, frames of a film, pages."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How an export is written."""

    called: str = "export"
    """What the folder of the export will be called."""
    bring: Bring = "copy"
    """What becomes of images, see `medclipsam.export.images`."""
    shapes: Shapes = "masks"
    """How COCO, labelme and Label Studio get masks: every pixel, or outlines."""
    skip_absent: bool = False
    """Leave out images in which nothing was found."""
    only: Kind | None = None
    """The kind of scans that is written; None: both."""
    picture_suffix: Literal[".png", ".tif"] = ".png"
    """nnU-Net: format of pictures."""
    channel: str = "image"
    """nnU-Net: name of the channel of volumes and grey pictures; `CT` makes it normalise as for Hounsfield units."""
    regions: bool = False
    """nnU-Net: keep overlaps of prompts as regions."""
    folds: int = 5
    """Number of folds that scans are cut into, by groups; YOLO validates on the first."""
    seed: int = 0
    """Seed of the order in which groups are dealt to folds."""
