"""Random views of a batch of images on its own device: one warp for all that lies together, and photometric changes.

    images, what was drawn from them, masks --Warp--> the same, still pixel on pixel
    images --photometric--> another exposure, gamma, noise, motion blur

Draws come from torch's default generator, which the training loop seeds anew for each step. Strengths are those of the
BiCLIP authors' released code (2026), which uses kornia; the formulas are written out here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

FLIP = 0.5
"""Probability of a mirror along each axis."""
BLUR_SIDE = 5
"""Side of the motion blur's kernel, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far a warp may move an image."""

    moved: float
    """Probability of a turn, shift and zoom together."""
    rotation: float
    """Largest turn either way, in degrees."""
    shift: float
    """Largest displacement along each axis, as a share of the side."""
    zoom: tuple[float, float]
    """Range of the scale."""


@dataclass(frozen=True)
class Warp:
    """One affine map for each image of a batch; everything that it is applied to stays aligned."""

    matrix: Tensor
    """(B, 2, 3): where each pixel of the result comes from, in coordinates from -1 to 1."""

    @classmethod
    def drawn(cls, count: int, reach: Reach, device: torch.device) -> Warp:
        """Mirrors, and for many images a turn, a shift and a zoom."""
        moved = (torch.rand(count, device=device) < reach.moved).float()
        angle = moved * _uniform(count, -reach.rotation, reach.rotation, device) * (math.pi / 180)
        zoom = 1 + moved * (_uniform(count, *reach.zoom, device) - 1)
        shift = moved[:, None] * _uniform(2 * count, -2 * reach.shift, 2 * reach.shift, device).view(count, 2)
        mirror = torch.where(torch.rand(count, 2, device=device) < FLIP, -1.0, 1.0)
        cosine, sine = angle.cos() / zoom, angle.sin() / zoom
        turn = torch.stack([cosine, -sine, sine, cosine], dim=1).view(count, 2, 2)
        return cls(torch.cat([turn * mirror[:, :, None], shift[:, :, None]], dim=2))

    def images(self, images: Tensor) -> Tensor:
        """(B, C, side, side), bilinear, zeros from outside; gradients flow."""
        return self._sampled(images, "bilinear")

    def masks(self, masks: Tensor) -> Tensor:
        """(B, side, side) of 0 and 1 to the same: nearest pixel."""
        return (self._sampled(masks[:, None].float(), "nearest")[:, 0] > 0.5).to(masks.dtype)

    def _sampled(self, images: Tensor, mode: str) -> Tensor:
        grid = F.affine_grid(self.matrix.to(images.dtype), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)


def photometric(images: Tensor) -> Tensor:
    """(B, 3, side, side) in [0, 1]: gamma for all; noise, brightness, contrast for half; motion blur for a fifth."""
    count, device = len(images), images.device
    images = images.clamp(1e-6, 1) ** _uniform(count, 0.9, 1.1, device)[:, None, None, None]
    images = images + _sometimes(count, 0.5, device) * 0.01 * torch.randn_like(images)
    images = (images + _sometimes(count, 0.5, device) * _column(count, -0.3, 0.3, device)).clamp(0, 1)
    contrast = 1 + _sometimes(count, 0.5, device) * (_column(count, 0.7, 1.3, device) - 1)
    images = (images * contrast).clamp(0, 1)
    angles, directions = _uniform(count, -20, 20, device), _uniform(count, -0.5, 0.5, device)
    blurred = motion_blurred(images, BLUR_SIDE, angles, directions)
    return torch.where(_sometimes(count, 0.2, device) > 0, blurred, images)


def motion_blurred(images: Tensor, side: int, angles: Tensor, directions: Tensor) -> Tensor:
    """Blur each image along a line.

    Args:
        images: (B, C, height, width).
        side: length of the line in pixels, odd.
        angles: (B,), degrees.
        directions: (B,), -1 to 1: where along the line the weight lies; 0 spreads it evenly.
    """
    count, channels, height, width = images.shape
    kernels = motion_kernels(side, angles, directions).to(images.dtype)
    kernels = kernels[:, None].expand(-1, channels, -1, -1).reshape(count * channels, 1, side, side)
    together = images.reshape(1, count * channels, height, width)
    return F.conv2d(together, kernels, padding=side // 2, groups=count * channels).view_as(images)


def motion_kernels(side: int, angles: Tensor, directions: Tensor) -> Tensor:
    """(B, side, side), each summing to 1: a horizontal line of weights, turned to the nearest pixels."""
    count, device = len(angles), angles.device
    along = torch.linspace(0, 1, side, device=device)
    share = (directions[:, None] + 1) / 2
    line = torch.zeros(count, 1, side, side, device=device)
    line[:, 0, side // 2] = share + (1 - 2 * share) * along
    radians = angles * (math.pi / 180)
    zero = torch.zeros_like(radians)
    turn = torch.stack([radians.cos(), -radians.sin(), zero, radians.sin(), radians.cos(), zero], dim=1)
    turned = Warp(turn.view(count, 2, 3))._sampled(line, "nearest")[:, 0]
    return turned / turned.sum(dim=(1, 2), keepdim=True)


def _uniform(count: int, low: float, high: float, device: torch.device) -> Tensor:
    return low + (high - low) * torch.rand(count, device=device)


def _column(count: int, low: float, high: float, device: torch.device) -> Tensor:
    return _uniform(count, low, high, device)[:, None, None, None]


def _sometimes(count: int, probability: float, device: torch.device) -> Tensor:
    """(count, 1, 1, 1) of 0 and 1."""
    return (torch.rand(count, device=device) < probability).float()[:, None, None, None]
