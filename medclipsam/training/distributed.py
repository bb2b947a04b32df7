"""Several processes that train one model: torchrun starts them; rows are gathered, gradients averaged.

    process 0: rows 0 2 4 ...  -- encode --\\
                                            gather_rows -> the loss of the whole batch, the same on every process
    process 1: rows 1 3 5 ...  -- encode --/
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function


def rank() -> int:
    """This process's number; 0 where there is one process."""
    return dist.get_rank() if _grouped() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _grouped() else 1


def barrier() -> None:
    """Wait for all processes."""
    if _grouped():
        dist.barrier()


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started and leave them at the end; nothing where there is one process.

    Where they are joined already, they stay so: several runs may follow each other inside.

    Yields:
        The device of this process: its own GPU under CUDA, else the one given.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if _grouped():
        yield device
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def gather_rows(rows: Tensor) -> Tensor:
    """(b, ...) of each process -> (world * b, ...) on all of them, in the order of the processes.

    The gradient of a row is the sum over all processes' losses. Where every process computes the same loss of the whole
    batch and the parameters' gradients are averaged (DistributedDataParallel), they equal those of a single process.
    All processes must hold equally many rows. With one process, the rows as they are.
    """
    if world_size() == 1:
        return rows
    return _GatherRows.apply(rows) if rows.is_floating_point() else _gather(rows)


class _GatherRows(Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        return _gather(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total[rank() * ctx.count :][: ctx.count]


def _gather(rows: Tensor) -> Tensor:
    parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()
