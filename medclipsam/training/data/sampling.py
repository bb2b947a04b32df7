"""Which examples make up each step: a function of the seed and the step, whatever the number of processes.

epoch 0: 3 1 4 | 0 5 2     epoch 1: 2 5 0 | 1 4 3        step n = batch n of all epochs in a row;
         step 0  step 1             step 2  step 3        process r of w takes every w-th row from r on

Examples with weights are drawn anew for each step, none twice in it (`WeightedPlan`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from medclipsam.errors import BadInput
from medclipsam.runtime import generator_for
from medclipsam.training import distributed

Key = tuple[int, int]
"""(epoch, or step where examples have weights; example): what an example's randomness may depend on beside the seed."""


class Keyed(Protocol):
    """A map-style dataset."""

    def __len__(self) -> int:
        """How many examples there are."""

    def __getitem__(self, key: Key) -> Any:
        """One example; what is random in it depends on a seed and the key alone."""


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """Which examples make up each step; the same for any number of processes."""

    examples: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        processes = distributed.world_size()
        if self.batch_size % processes:
            raise BadInput(f"{processes} processes cannot share a batch of {self.batch_size}", "choose a multiple")
        if self.examples < max(2, processes):
            raise BadInput(f"{self.examples} examples are too few to train on", "give more")

    @property
    def rows(self) -> int:
        """Examples in each batch, over all processes: fewer than asked for where there are fewer in all."""
        fitting = min(self.batch_size, self.examples)
        return fitting - fitting % distributed.world_size()

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches; the rest of a pass is left to others."""
        return self.examples // self.rows

    def keys(self, step: int) -> list[Key]:
        """This process's share of the batch of the 0-based step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _order(self.examples, self.seed, epoch)
        return _own_share(epoch, order[place * self.rows : (place + 1) * self.rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedPlan(BatchPlan):
    """Draws each step's examples by their weights."""

    weights: Tensor
    """(examples,): how often an example is drawn, in proportion; at least a batch of them above 0."""

    def keys(self, step: int) -> list[Key]:
        """This process's share of the batch of the 0-based step, which is the first part of each key."""
        generator = generator_for(self.seed, f"draw {step}")
        return _own_share(step, self.weights.multinomial(self.rows, replacement=False, generator=generator))


def plan_for(examples: int, batch_size: int, seed: int, weights: Sequence[float] | None = None) -> BatchPlan:
    """Passes over the examples; or draws, where they have weights.

    Raises:
        BadInput: too few examples, or a batch that the processes cannot share.
    """
    if weights is None:
        return BatchPlan(examples=examples, batch_size=batch_size, seed=seed)
    shares = torch.tensor(weights, dtype=torch.float64)
    return WeightedPlan(examples=examples, batch_size=batch_size, seed=seed, weights=shares)


def _own_share(first: int, chosen: Tensor) -> list[Key]:
    """Every w-th of the chosen examples, from this process's number on."""
    return [(first, example) for example in chosen.tolist()[distributed.rank() :: distributed.world_size()]]


@lru_cache(maxsize=2)
def _order(examples: int, seed: int, epoch: int) -> Tensor:
    """A pass over the examples."""
    return torch.randperm(examples, generator=generator_for(seed, f"epoch {epoch}"))


def batches(
    data: Keyed,
    plan: BatchPlan,
    steps: range,
    collate: Callable[[Sequence[Any]], Any],
    *,
    workers: int = 0,
    pinned: bool = False,
) -> Iterator[Any]:
    """This process's share of the batch of each step.

    Args:
        workers: processes that read examples ahead; each begins as a fresh interpreter, since a copy of this one
            would inherit the locks of its threads, but not the threads.
        pinned: put tensors where a GPU can fetch them.
    """
    loader = DataLoader(
        cast(Dataset, data),
        batch_sampler=_Remaining(plan, steps),
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        pin_memory=pinned,
        generator=torch.Generator(),
    )
    return iter(loader)


class _Remaining(Sampler[list[Key]]):
    """The keys of each step that is left, one step at a time."""

    def __init__(self, plan: BatchPlan, steps: range) -> None:
        self._plan, self._steps = plan, steps

    def __iter__(self) -> Iterator[list[Key]]:
        return map(self._plan.keys, self._steps)

    def __len__(self) -> int:
        return len(self._steps)
