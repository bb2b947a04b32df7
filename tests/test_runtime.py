"""Does each device get a precision that it has instructions for, and does every other wish end in one line?"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from medclipsam.errors import BadInput
from medclipsam.memory.latest import Latest
from medclipsam.runtime import DTYPES, is_intel, pick_dtype, precision_of

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


def test_of_itself_only_cuda_computes_in_half_precision() -> None:
    assert [pick_dtype(device) for device in (CPU, CUDA, MPS)] == [torch.float32, torch.float16, torch.float32]


@pytest.mark.parametrize("device", [CPU, CUDA, MPS])
def test_single_precision_is_there_on_every_device(device: torch.device) -> None:
    assert pick_dtype(device, "fp32") == torch.float32


@pytest.mark.parametrize(
    ("capabilities", "native"),
    [
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True}, True),
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False}, False),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": False}, False),
        ({}, False),
    ],
)
def test_a_processor_computes_in_bf16_only_where_it_has_instructions_for_it(
    capabilities: dict[str, Any], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    if native:
        assert pick_dtype(CPU, "bf16") == torch.bfloat16
        return
    with pytest.raises(BadInput, match=r"this processor has no instructions for bf16; use --precision fp32"):
        pick_dtype(CPU, "bf16")


@pytest.mark.parametrize(("device", "precision"), [(CPU, "fp16"), (MPS, "fp16"), (MPS, "bf16")])
def test_what_gains_nothing_is_refused(device: torch.device, precision: Any) -> None:
    with pytest.raises(BadInput, match="has no instructions for"):
        pick_dtype(device, precision)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(BadInput, match="unknown precision 'int4'; choose one of auto, fp32, bf16, fp16"):
        pick_dtype(CPU, "int4")  # type: ignore[arg-type]


def test_a_precision_is_told_by_the_name_that_one_asked_by() -> None:
    assert {name: precision_of(dtype) for name, dtype in DTYPES.items()} == {name: name for name in DTYPES}


def test_the_images_seen_last_are_remembered_and_seeing_one_again_keeps_it() -> None:
    latest: Latest[int] = Latest()
    latest.keep({"a": 1, "b": 2}, most=2)
    latest.keep(latest.of(["a"]), most=2)
    latest.keep({"c": 3}, most=2)
    assert latest.of(["a", "b", "c"]) == {"a": 1, "c": 3}


@pytest.mark.skipif(not is_intel(), reason="MKL has its strict mode for Intel's processors alone")
def test_a_product_has_the_same_bits_with_any_number_of_threads() -> None:
    """In a process of its own: MKL reads its settings at the first product."""
    code = "import torch, medclipsam.runtime\n"
    code += "draw = torch.Generator().manual_seed(0)\n"
    code += "sizes = [(1, 300, 16), (1, 1000, 48), (3, 1000, 256), (7, 1000, 129)]\n"
    code += "pairs = [(torch.randn(a, b, generator=draw), torch.randn(b, c, generator=draw)) for a, b, c in sizes]\n"
    code += "found = []\n"
    code += "for threads in (1, 2, 3):\n"
    code += "    torch.set_num_threads(threads)\n"
    code += "    found.append([left @ right for left, right in pairs])\n"
    code += "print(all(torch.equal(one, other) for products in found for one, other in zip(products, found[0])))\n"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "True"
