"""Settings from which networks are built, with the source of every default; no torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from medclipsam.config import SquareFit
from medclipsam.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """What every network knows of itself; one with more settings is derived from it.

    Raises:
        BadInput: a square that is too small.
    """

    kind: ClassVar[str]
    """Its name in `medclipsam.networks.registry.NETWORKS`."""
    side: int = 256
    """Side of the square that images enter, in pixels."""
    fit: SquareFit = "letterbox"
    """How an image enters the square. squash: stretched; letterbox: its shape kept, zeros beside it."""

    def __post_init__(self) -> None:
        if self.side < 16:
            raise BadInput(f"a square of {self.side} pixels is too small", "use at least 16")


@dataclass(frozen=True, kw_only=True)
class UNetSettings(NetworkSettings):
    """A plain U-Net, which looks at the image alone."""

    kind = "unet"
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Number of channels at each level, the finest first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        step = 2 ** (len(self.widths) - 1)
        if self.side % step:
            raise BadInput(f"a square of {self.side} pixels cannot be halved often enough", f"use a multiple of {step}")


UNET = UNetSettings()
