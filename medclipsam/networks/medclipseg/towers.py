"""The contract of two frozen towers in lock step: open_clip's in `open_clip_towers`, the package's own in `embedded`.

They are no modules: nothing of them is trained, saved or moved with the network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import Tensor

from medclipsam.backbones.tower import Unread
from medclipsam.networks.contract import Features, Inputs
from medclipsam.networks.medclipseg.settings import LastBlock


@dataclass(frozen=True, kw_only=True)
class Widths:
    """What the trained parts need to know of the towers."""

    image: int
    """Channels of an image token."""
    text: int
    """Channels of a text token."""
    joint: int
    """Length of the joint embedding."""
    grid: tuple[int, int]
    """(rows, columns) of patches."""
    blocks: int
    """Blocks that run in lock step."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Words:
    """Texts before the first adapted block."""

    tokens: Tensor
    """(R, m, width)."""
    ids: Tensor
    """(R, m) of the tokenizer."""
    real: Tensor
    """(R, m) bool: False where there is padding."""


class Towers(ABC):
    """The contract of both kinds."""

    widths: Widths
    frozen: Mapping[str, str]
    """SHA-256 of the frozen files, by their key in the table of weights."""

    @property
    def encoding(self) -> str:
        """See `SupervisedNetwork.encoding`."""
        return ""

    def precision(self) -> AbstractContextManager[None]:
        """Number format of matrix products at use; here single precision, or what the caller set."""
        return nullcontext()

    def encode(self, pixels: Tensor) -> Features:
        """See `SupervisedNetwork.encode`."""
        return {}

    def read_ahead(self, texts: Sequence[str]) -> None:  # noqa: B027  (nothing to do is an answer)
        """See `SupervisedNetwork.learn_from`."""

    @abstractmethod
    def start_image(self, inputs: Inputs, first: int) -> Tensor:
        """(I, n, width) before block `first`; called without gradients."""

    @abstractmethod
    def start_text(self, texts: Sequence[str], first: int, *, padded: bool) -> Words:
        """Texts before block `first`; called without gradients.

        Args:
            padded: keep all padding up to the context; without, rows are as long as the longest text.
        """

    @abstractmethod
    def image_block(self, index: int, tokens: Tensor) -> Tensor:
        """(B, n, width) after a block."""

    @abstractmethod
    def text_block(self, index: int, tokens: Tensor, words: Words) -> Tensor:
        """(B, m, width) after a block; B is a multiple of the rows of `words`, which repeat."""

    @abstractmethod
    def last_image_block(self, tokens: Tensor, how: LastBlock) -> Tensor:
        """(B, n, width) after the last block, or its values alone."""

    @abstractmethod
    def patches(self, tokens: Tensor) -> Tensor:
        """(B, n, width) after the last block -> (B, rows * columns, joint), of any length."""

    @abstractmethod
    def sentence(self, tokens: Tensor, words: Words) -> Tensor:
        """(B, m, width) after the last block -> (B, joint), of any length."""

    @abstractmethod
    def unread(self, text: str) -> Unread | None:
        """What is left out at the end of a text; None if nothing."""
