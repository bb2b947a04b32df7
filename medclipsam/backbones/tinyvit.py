"""LiteMedSAM's image encoder (TinyViT): pixels to a 64x64 grid of features.

The TinyViT of LiteMedSAM (Wu et al., ECCV 2022; Ma et al., LiteMedSAM, 2024), written for inference: every batch
normalisation is folded into the convolution before it, and tokens stay channels-last from the first pixel to the neck,
so that each 1x1 convolution is a plain matrix product.

    256x256x3 -> stem 64 -> 2 MBConv -> /2 -> 2 blocks 128 -> /2 -> 6 blocks 160 -> 2 blocks 320 -> neck 64x64x256
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
EMBEDDING_WIDTH = 256
STRIP = 32
"""Rows of the first stage that are worked on together: 9 MiB where all would be 64."""


def depthwise(width: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps channels apart."""
    return nn.Conv2d(width, width, 3, stride, padding=1, groups=width)


def over_channels_last(convolution: nn.Module, x: Tensor) -> Tensor:
    """Apply a (B, C, H, W) convolution to a (B, H, W, C) tensor without copying it."""
    return convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Stem(nn.Module):
    """Per-pixel projection of RGB to the first width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(nn.Linear(3, width // 2), nn.GELU(), nn.Linear(width // 2, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.seq(x)


class MBConv(nn.Module):
    """Inverted bottleneck: widen, mix neighbours, narrow, add."""

    def __init__(self, width: int, expansion: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Linear(width, width * expansion)
        self.conv2 = depthwise(width * expansion)
        self.conv3 = nn.Linear(width * expansion, width)

    def forward(self, x: Tensor) -> Tensor:
        """On a CPU in strips of rows: what is widened then stays in the cache, and is not asked of the system anew."""
        height = x.shape[1]
        step = STRIP if x.device.type == "cpu" else height
        return torch.cat([self._rows(x, top, min(top + step, height)) for top in range(0, height, step)], dim=1)

    def _rows(self, x: Tensor, top: int, bottom: int) -> Tensor:
        """The result at rows `top` to `bottom`; it depends on one more row above and below, or zeros at the edge."""
        above, below = min(top, 1), min(x.shape[1] - bottom, 1)
        hidden = F.gelu(self.conv1(x[:, top - above : bottom + below]))
        hidden = F.gelu(over_channels_last(self.conv2, hidden)[:, above : above + bottom - top])
        return F.gelu(x[:, top:bottom] + self.conv3(hidden))


class Merging(nn.Module):
    """The step between two stages: a new width, and half the resolution where stride is 2."""

    def __init__(self, width: int, out_width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Linear(width, out_width)
        self.conv2 = depthwise(out_width, stride)
        self.conv3 = nn.Linear(out_width, out_width)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.conv1(x))
        return self.conv3(F.gelu(over_channels_last(self.conv2, x)))


class WindowAttention(nn.Module):
    """Self-attention inside a window, with a learned bias for each distance between two positions."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        self.distance: Tensor
        self.register_buffer("distance", _distance_index(window), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(windows, window * window, width) -> the same."""
        count, length, width = x.shape
        qkv = self.qkv(self.norm(x)).view(count, length, self.heads, 3, width // self.heads)
        query, key, value = qkv.permute(3, 0, 2, 1, 4)
        bias = self.attention_biases[None, :, self.distance].to(query.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(mixed.transpose(1, 2).reshape(count, length, width))


class Mlp(nn.Module):
    def __init__(self, width: int, expansion: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, width * expansion)
        self.fc2 = nn.Linear(width * expansion, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class Block(nn.Module):
    """Window attention, a depthwise convolution across window borders, and an MLP."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(width, heads, window)
        self.local_conv = depthwise(width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attend(x)
        x = over_channels_last(self.local_conv, x)
        return x + self.mlp(x)

    def _attend(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        side = self.window
        padded = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = padded.shape[1] // side, padded.shape[2] // side
        windows = padded.view(batch, rows, side, columns, side, channels).transpose(2, 3)
        mixed = self.attn(windows.reshape(-1, side * side, channels))
        mixed = mixed.view(batch, rows, columns, side, side, channels).transpose(2, 3)
        return mixed.reshape(batch, rows * side, columns * side, channels)[:, :height, :width]


class Stage(nn.Module):
    """Blocks of one width, then the step to the next stage."""

    def __init__(self, blocks: list[nn.Module], merging: Merging | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = merging

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of a channels-last map, with SAM's epsilon."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)


class TinyViT(nn.Module):
    """LiteMedSAM's image encoder: (B, 3, 256, 256) in [0, 1] -> (B, 256, 64, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = Stem(WIDTHS[0])
        self.layers = nn.ModuleList(_stage(index) for index in range(len(WIDTHS)))
        self.neck = nn.Sequential(
            nn.Linear(WIDTHS[-1], EMBEDDING_WIDTH, bias=False),
            ChannelNorm(EMBEDDING_WIDTH),
            nn.Conv2d(EMBEDDING_WIDTH, EMBEDDING_WIDTH, 3, padding=1, bias=False),
            ChannelNorm(EMBEDDING_WIDTH),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patch_embed(pixels.permute(0, 2, 3, 1))
        for stage in self.layers:
            x = stage(x)
        x = self.neck[1](self.neck[0](x))
        x = self.neck[3](over_channels_last(self.neck[2], x))
        return x.permute(0, 3, 1, 2)

    def load_lite_medsam(self, state: Mapping[str, Tensor]) -> None:
        """Load the encoder part of a LiteMedSAM checkpoint; the tensors are not copied.

        Args:
            state: tensors named as in `lite_medsam.pth`, without the `image_encoder.` prefix.

        Raises:
            RuntimeError: a tensor is missing, left over, or of another shape.
        """
        expected = self.state_dict()
        folded = fold_batch_norm(state)
        fitting = {name: _as_linear(tensor, expected.get(name)) for name, tensor in folded.items()}
        self.load_state_dict(fitting, assign=True)


def fold_batch_norm(state: Mapping[str, Tensor], epsilon: float = 1e-5) -> dict[str, Tensor]:
    """Rewrite every `X.c` (convolution) followed by `X.bn` as one convolution `X` with a bias."""
    folded = {}
    for name, tensor in state.items():
        if name.endswith(".c.weight"):
            prefix = name.removesuffix(".c.weight")
            mean, variance, gain, shift = (
                state[f"{prefix}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
            )
            scale = gain / torch.sqrt(variance + epsilon)
            folded[f"{prefix}.weight"] = tensor * scale.view(-1, 1, 1, 1)
            folded[f"{prefix}.bias"] = shift - mean * scale
        elif ".bn." not in name:
            folded[name] = tensor
    return folded


def _as_linear(tensor: Tensor, expected: Tensor | None) -> Tensor:
    """Drop the two trailing axes of a 1x1 convolution where the model has a linear layer."""
    is_pointwise = expected is not None and tensor.ndim == 4 and expected.ndim == 2
    return tensor[:, :, 0, 0] if is_pointwise else tensor


@cache  # two windows, ten blocks
def _distance_index(window: int) -> Tensor:
    """(window^2, window^2): which bias belongs to the vertical and horizontal distance of two positions."""
    row, column = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    row, column = row.flatten(), column.flatten()
    return (row[:, None] - row).abs() * window + (column[:, None] - column).abs()


def _stage(index: int) -> Stage:
    width = WIDTHS[index]
    if index == 0:
        blocks: list[nn.Module] = [MBConv(width) for _ in range(DEPTHS[0])]
    else:
        blocks = [Block(width, HEADS[index], WINDOWS[index]) for _ in range(DEPTHS[index])]
    is_last = index == len(WIDTHS) - 1
    before_last = index == len(WIDTHS) - 2
    merging = None if is_last else Merging(width, WIDTHS[index + 1], stride=1 if before_last else 2)
    return Stage(blocks, merging)
