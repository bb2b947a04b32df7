"""Brings a person's or a map's boxes and points into the square of a Segment Anything model, and portions them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medclipsam.backbones.geometry import Placement
from medclipsam.errors import BadInput
from medclipsam.types import Box, Points


@dataclass(frozen=True, eq=False, kw_only=True)
class SquarePrompts:
    """Prompts in the square's pixels; at least one of the two."""

    corners: Tensor | None
    """(n, 4): x0, y0, x1, y1."""
    clicks: tuple[Tensor, Tensor] | None
    """(1, p, 2) x and y, (1, p) labels."""

    def split(self, count: int) -> list[SquarePrompts]:
        """Portions of at most `count` boxes, each with all points."""
        if self.corners is None:
            return [self]
        return [SquarePrompts(corners=corners, clicks=self.clicks) for corners in self.corners.split(count)]

    def on(self, device: torch.device) -> dict[str, Any]:
        """Arguments of the prompt encoder: the points repeated for each box."""
        points = None
        if self.clicks is not None:
            repeats = 1 if self.corners is None else len(self.corners)
            points = tuple(part.expand(repeats, *part.shape[1:]).to(device) for part in self.clicks)
        boxes = None if self.corners is None else self.corners.to(device)
        return {"points": points, "boxes": boxes, "masks": None}


def to_square(boxes: Sequence[Box], points: Points | None, placement: Placement) -> SquarePrompts:
    """Boxes and points of the native image where it lies in the square; boxes are cut to the image.

    Raises:
        BadInput: neither box nor point, or one that lies outside the image.
    """
    if not boxes and not points:
        raise BadInput("there is nothing to segment with", "give at least one box or point")
    corners = clicks = None
    if boxes:
        native = np.array([box.clipped(placement.size).edges for box in boxes]).reshape(-1, 2, 2)
        corners = torch.from_numpy(placement.edges_to_square(native)).reshape(-1, 4)
    if points:
        _check_inside(points, placement.size)
        centres = torch.from_numpy(placement.centres_to_square(points.xy))
        clicks = centres[None], torch.from_numpy(points.labels)[None]
    return SquarePrompts(corners=corners, clicks=clicks)


def _check_inside(points: Points, size: tuple[int, int]) -> None:
    height, width = size
    x, y = points.xy.T
    outside = (x < 0) | (y < 0) | (x > width - 1) | (y > height - 1)
    if outside.any():
        worst = tuple(points.xy[outside][0].tolist())
        raise BadInput(f"point {worst} lies outside the image of {width} x {height} pixels")
