"""Where and how do the models run? Device, precision, and randomness that order and batch size cannot change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from medclipsam.errors import BadInput


def pick_device(wanted: str = "auto") -> torch.device:
    """The device to use: `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        BadInput: a device that is unknown or not present.
    """
    if wanted == "auto":
        return torch.device(_best_device())
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadInput(f"device {wanted!r} cannot be used here", f"try --device {_best_device()}") from error
    return device


def pick_dtype(device: torch.device) -> torch.dtype:
    """Half precision on CUDA; single precision elsewhere, where results must be bit-equal."""
    return torch.float16 if device.type == "cuda" else torch.float32


def generator_for(seed: int, content: str) -> torch.Generator:
    """A CPU generator that depends on the seed and the image's content, not on order, batch or process."""
    digest = hashlib.sha256(f"{seed}:{content}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread while the block runs: for products of a few rows, which are fast anyway.

    Several threads share the sum of each of their elements, so that the last bits would depend on how many there are.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
