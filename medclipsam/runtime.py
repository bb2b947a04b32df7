"""Where and how models run: device, precision, and randomness that order and batch size cannot change."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_args

import torch

from medclipsam.config import Precision
from medclipsam.errors import BadInput

Item = TypeVar("Item")
Made = TypeVar("Made")
DTYPES = MappingProxyType({"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16})
"""Precisions by the names that the command line has for them."""


def is_intel() -> bool:
    """Whether the processor is one of Intel's, where the system says whose it is (Linux, Windows)."""
    told = os.environ.get("PROCESSOR_IDENTIFIER", "")
    with suppress(OSError):
        told += Path("/proc/cpuinfo").read_text()[:1000]
    return "GenuineIntel" in told


if is_intel():
    # Read by MKL at its first product. Without it the last bits of a product depend on the number of threads, on
    # processors with AVX-512; in strict mode they do not, in the same time. MKL has that mode for Intel's alone.
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


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


def pick_dtype(device: torch.device, precision: Precision = "auto") -> torch.dtype:
    """What the encoder of Segment Anything computes in: of itself half precision on CUDA, single precision elsewhere.

    Raises:
        BadInput: a precision that is unknown, or that this device has no instructions for: it would be slower.
    """
    if precision == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if precision not in DTYPES:
        raise BadInput(f"unknown precision {precision!r}", f"choose one of {', '.join(get_args(Precision))}")
    if not computes_in(DTYPES[precision], device):
        where = "processor" if device.type == "cpu" else device.type
        raise BadInput(f"this {where} has no instructions for {precision}", "use --precision fp32")
    return DTYPES[precision]


def processor_multiplies_bf16() -> bool:
    """Whether it has AVX-512 BF16 (x86; every processor with AMX has it too) or ARM's BF16 extension."""
    can = _capabilities()
    return bool(can.get("avx512_bf16") or can.get("bf16"))


def precision_of(dtype: torch.dtype) -> str:
    """The name of a precision, for reports."""
    return next(name for name, known in DTYPES.items() if known == dtype)


def generator_for(seed: int, content: str) -> torch.Generator:
    """A CPU generator that depends on the seed and the image's content, not on order, batch or process."""
    digest = hashlib.sha256(f"{seed}:{content}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread while the block runs: for products of a few rows and for maps, which are fast anyway.

    Several threads share the sum of each of their elements, and where one thread's part of a map ends, the rest that
    fills no vector is computed otherwise: the last bits would depend on how many there are.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def computes_in(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the hardware itself multiplies in this precision; what is emulated gains nothing."""
    if dtype == torch.float32:
        return True
    if device.type == "cuda":
        return dtype == torch.float16 or torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and dtype == torch.bfloat16 and processor_multiplies_bf16()


def gains_from_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is the faster choice: wherever there are instructions for it, but on Intel without AMX.

    LiteMedSAM's encoder takes half the time of single precision on an AMD EPYC with AVX-512 BF16 (`docs/speed.md`), and
    longer than in single precision on an Intel Xeon with it and without AMX.
    """
    if not computes_in(torch.bfloat16, device):
        return False
    return device.type != "cpu" or not is_intel() or bool(_capabilities().get("amx_bf16"))


def side_by_side(work: Callable[[Item], Made], items: Sequence[Item], workers: int) -> list[Made]:
    """Do the work on every item, on so many at the same time; they share the threads that one would have."""
    if workers < 2:
        return [work(item) for item in items]
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, "medclipsam", torch.set_num_threads, (max(1, threads // workers),)) as pool:
            return list(pool.map(work, items))
    finally:
        torch.set_num_threads(threads)  # whoever sets it last also decides what new threads begin with


def _capabilities() -> Mapping[str, Any]:
    """What torch says of this processor; nothing where it does not tell."""
    found: Mapping[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return found


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
